// `npm run e2e:kernel [-- suite] [tests]`, after the set-up: tests on a Debian's own kernel, in a virtual machine.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { debianPackages, PACKAGES } from "../../packages/dev/src/debian.mjs";
import { ROOT } from "../../packages/dev/src/outputs.mjs";
import { SetupError, step } from "../../packages/dev/src/progress.mjs";
import { boot, debian, treeDisk } from "./machine.mjs";

/** Apart from a failure (1): nothing has been tested. */
const SKIPPED = 75; // EX_TEMPFAIL
const SUITES = ["bookworm", "trixie"];
const QEMU = { "qemu-system-x86": "qemu-system-x86_64", mmdebstrap: "mmdebstrap", e2fsprogs: "mke2fs" };
const FOLDER = join(ROOT, "build/kernel");
/** What speaks with the kernel, by a part of the path; the rest of the tests asks it for nothing more. */
const TESTS = [
  ...["packages/netlink", "packages/nftables", "packages/iptables", "packages/agent/src/rulesets"],
  ...["packages/agent/src/qos", "packages/agent/src/overlay", "packages/agent/src/kernel.test"],
  ...["packages/agent/src/cutter", "packages/agent/src/host-addresses", "packages/bgpd/src/kernel"],
  ...["packages/bgpd/src/nexthop-objects", "packages/bgpd/src/sessions", "packages/cni/src/wire"],
  ...["e2e/policy", "e2e/nftables", "e2e/repair", "e2e/overlay", "e2e/cut", "e2e/qos", "e2e/transactions"],
];

/** @returns the exit code: the guest's, or 75 when it could not be tried */
async function kernel(args) {
  const why = cannot();
  if (why !== undefined) {
    process.stderr.write(`skipped: e2e:kernel: ${why}\n`);
    return SKIPPED;
  }
  const suite = SUITES.includes(args[0]) ? args.shift() : SUITES[0];
  const log = join(ROOT, ".cache/setup.log");
  mkdirSync(FOLDER, { recursive: true });
  await step("Debian packages", () => debianPackages(log, QEMU));
  let machine, tree;
  await step(`Debian ${suite} with its kernel`, async () => {
    machine = await debian(suite, Object.keys(PACKAGES), FOLDER, log);
  });
  await step("this tree on a disk", async () => {
    tree = await treeDisk(ROOT, FOLDER, log);
  });
  const code = await boot(machine, tree, script(args), join(FOLDER, `${suite}.log`));
  if (code === undefined) throw new SetupError(`the guest died; its console: ${FOLDER}/${suite}.log`);
  return code;
}

function cannot() {
  if (process.arch !== "x64") return `the guest is of x86-64, this is ${process.arch}`;
  if (process.getuid() !== 0) return "its root file system has files of several users, which takes root";
}

/** The demo, then jest; with words, jest alone on the tests whose path has one of them. */
function script(words) {
  const jest = "node --experimental-vm-modules --no-warnings node_modules/jest/bin/jest.js -i --ci --verbose";
  if (words.length > 0) return `${jest} ${words.join(" ")}\n`;
  return `node packages/margay/dist/margay.mjs lab demo --once; demo=$?
${jest} ${TESTS.join(" ")} && exit $demo\n`;
}

process.exitCode = await kernel(process.argv.slice(2)).catch((error) => {
  if (!(error instanceof SetupError)) throw error;
  process.stderr.write(`margay: ${error.message}\n`);
  return 1;
});
