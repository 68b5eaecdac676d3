// `npm run e2e:kubernetes`, after the set-up: the Go tools, the image, then the tests in namespaces of their own.
import { readdirSync, rmSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { debianPackages } from "../../packages/dev/src/debian.mjs";
import { foreground } from "../../packages/dev/src/foreground.mjs";
import { image } from "../../packages/dev/src/image.mjs";
import { ROOT } from "../../packages/dev/src/outputs.mjs";
import { SetupError, step } from "../../packages/dev/src/progress.mjs";
import { TOOLS, ToolsMissing, tools } from "./tools.mjs";

const HERE = fileURLToPath(new URL(".", import.meta.url));
/** Apart from a failure (1): nothing has been tested. */
const SKIPPED = 75; // EX_TEMPFAIL
const UNSHARE = ["unshare", "--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child=SIGKILL"];
/** Of one file of tests, whose own limits are in it: jest itself may hang. */
const SPEC_MINUTES = 25;
/** `unshare` heeds nothing but SIGKILL, also when a SIGTERM comes to us; it ends with `timeout`, whatever ends that. */
const BOUNDED = [
  ...["timeout", "--foreground", "--signal=KILL", "--kill-after=5s", `${SPEC_MINUTES}m`],
  ...["setpriv", "--pdeathsig", "KILL", "--"],
];
const KILLED = 128 + constants.signals.SIGKILL;
/** crun knows no mix of both generations of cgroups, and needs none here. */
const PRIVATE = 'mount -t cgroup2 none /sys/fs/cgroup && mount -t tmpfs -o mode=755 tmpfs /run && exec "$@"';
const JEST = [
  "--experimental-vm-modules",
  "--no-warnings",
  "node_modules/jest/bin/jest.js",
  "-c",
  "e2e/kubernetes/jest.config.mjs",
];

/** @returns the exit code: jest's, or 75 when it could not be tried */
async function kubernetes(args) {
  const why = await cannot(join(ROOT, ".cache/setup.log"));
  if (why !== undefined) {
    process.stderr.write(`skipped: e2e:kubernetes: ${why}\n`);
    return SKIPPED;
  }
  for (const spec of specs(args)) {
    rmSync(join(ROOT, "build/kubernetes-logs"), { recursive: true, force: true });
    const code = await inNamespaces([join(ROOT, "node_modules/.bin/node"), ...JEST, spec]);
    if (code === KILLED)
      process.stderr.write(`margay: ${spec}: no end after ${SPEC_MINUTES} minutes, or no memory for it\n`);
    if (code !== 0) return code; // the logs are of the one that failed
  }
  return 0;
}

/** Files of tests whose names contain one of the words; all when there is none. Each makes a cluster of its own. */
function specs(words) {
  const all = readdirSync(HERE).filter((name) => name.endsWith(".spec.ts"));
  const wanted = all.filter((name) => words.length === 0 || words.some((word) => name.includes(word)));
  if (wanted.length === 0) throw new SetupError(`no test of ${words.join(" ")}: there are ${all.join(", ")}`);
  return wanted.map((name) => join("e2e/kubernetes", name));
}

const inNamespaces = (command) => foreground([...BOUNDED, ...UNSHARE, "sh", "-c", PRIVATE, "sh", ...command]);

async function cannot(log) {
  if (process.getuid() !== 0) return "it runs containers, which needs root";
  try {
    await step(TOOLS, () => tools(log));
  } catch (error) {
    if (error instanceof ToolsMissing) return error.message;
    throw error;
  }
  await step("Debian packages", () =>
    debianPackages(log, { crun: "crun", curl: "curl", "golang-github-containers-common": undefined }),
  );
  await step("image", async () => {
    await image(log);
  });
}

process.exitCode = await kubernetes(process.argv.slice(2)).catch((error) => {
  if (!(error instanceof SetupError)) throw error;
  process.stderr.write(`margay: ${error.message}\n`);
  return 1;
});
