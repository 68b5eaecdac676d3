// One command from a fresh clone: `node packages/dev/src/setup.mjs [start|test|bench|check|image|kubernetes|kernel|build] [arguments]`.
// Any Node.js from 20 runs this file; what it starts runs on the Node.js 24 among the npm packages.
import { constants } from "node:os";
import { delimiter, join } from "node:path";
import { bundle } from "./bundle.mjs";
import { check } from "./check.mjs";
import { debianPackages } from "./debian.mjs";
import { node } from "./foreground.mjs";
import { image } from "./image.mjs";
import { addon, relay } from "./native.mjs";
import { npmPackages } from "./npm.mjs";
import { ROOT } from "./outputs.mjs";
import { SetupError, step } from "./progress.mjs";

const LOG = join(ROOT, ".cache/setup.log");
const JEST = ["--experimental-vm-modules", "--no-warnings", "node_modules/jest/bin/jest.js"];
const LAB = ["packages/margay/dist/margay.mjs", "lab", "demo"];

/** What each command runs after the set-up, by Node.js 24. */
const commands = {
  start: (args) => node([...LAB, ...args]),
  test: (args) => node([...JEST, ...args]),
  bench: (args) => node(["--conditions=margay-source", "e2e/bench/main.ts", ...args]),
  check: () => check(node),
  image: () => image(LOG),
  kubernetes: (args) => node(["e2e/kubernetes/run.mjs", ...args]),
  kernel: (args) => node(["e2e/kernel/run.mjs", ...args]),
  build: async () => 0,
};

async function main([command = "build", ...args]) {
  if (process.platform !== "linux") throw new SetupError(`Margay needs Linux; this is ${process.platform}`);
  if (Number.parseInt(process.versions.node, 10) < 20)
    throw new SetupError(`Node.js >= 20 is needed; this is ${process.version}`);
  const perform = commands[command];
  if (!perform)
    throw new SetupError(`unknown command ${command}; one of: ${Object.keys(commands).join(", ")}`);
  process.chdir(ROOT);
  process.env.PATH = [join(ROOT, "node_modules/.bin"), process.env.PATH, "/usr/sbin", "/sbin"].join(
    delimiter,
  );
  await step("npm packages", () => npmPackages(ROOT, LOG));
  await step("Debian packages", () => debianPackages(LOG));
  await step("netlink addon", () => addon(LOG));
  await step("CNI relay", () => relay(LOG));
  await step("bundle", () => bundle());
  return perform(args);
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"])
  process.once(signal, () => process.exit(128 + constants.signals[signal]));
main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error) => {
    process.stderr.write(`margay: ${error instanceof SetupError ? error.message : error.stack}\n`);
    process.exit(1);
  },
);
