// `npm run e2e:kubernetes`, after the set-up: the Go tools, the image, then the tests in namespaces of their own.
import { readdirSync, rmSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { debianPackages } from "../../packages/dev/src/debian.mjs";
import { foreground } from "../../packages/dev/src/foreground.mjs";
import { image } from "../../packages/dev/src/image.mjs";
import { ROOT } from "../../packages/dev/src/outputs.mjs";
import { run, SetupError, step } from "../../packages/dev/src/progress.mjs";
import { allowed, forBuilding, minutes, next } from "./budget.mjs";
import { fetchCalico } from "./calico.mjs";
import { buildCalico } from "./calico-programs.mjs";
import { tooLittle } from "./room.mjs";
import { areBuilt, TOOLS, ToolsMissing, tools, toolsFolder } from "./tools.mjs";

const HERE = fileURLToPath(new URL(".", import.meta.url));
/** Apart from a failure (1): nothing has been tested. */
const SKIPPED = 75; // EX_TEMPFAIL
const UNSHARE = ["unshare", "--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child=SIGKILL"];
/** `unshare` heeds nothing but SIGKILL, also when a SIGTERM comes to us; it ends with `timeout`, whatever ends that. */
const within = (minutes) => [
  ...["timeout", "--foreground", "--signal=KILL", "--kill-after=5s", `${minutes}m`],
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

/** A mirror or a network that fails, as apt-get and mmdebstrap say it. */
const UNREACHED =
  /no network\?|Failed to fetch|could not install|Debian packages are missing|made for Debian/;

/** @returns the exit code: jest's, or 75 when it could not be tried, or not all of it */
async function kubernetes(args) {
  const waiting = specs(args);
  const all = minutes(process.env.MARGAY_KUBERNETES_MINUTES);
  const left = () => all - passedMinutes();
  const short = (done) =>
    skipped(
      `${waiting.join(", ")}: not run, for ${Math.max(0, left()).toFixed(1)} minutes are left; ${done} files passed before`,
    );
  if (next(waiting, left()) === undefined) return short(0);
  const why = await cannot(join(ROOT, ".cache/setup.log"), {
    buildMinutes: forBuilding(waiting, left()),
    isBesideCalico: waiting.some((spec) => spec.endsWith(ON_REQUEST)),
  });
  if (why !== undefined) return skipped(why);
  let done = 0;
  for (let spec = next(waiting, left()); spec; spec = next(waiting, left())) {
    const code = await passes(spec);
    if (code !== 0) return code; // the logs are of the one that failed
    waiting.splice(waiting.indexOf(spec), 1);
    done++;
  }
  if (waiting.length > 0) return short(done);
  process.stderr.write(`e2e:kubernetes: ${done} files passed in ${passedMinutes().toFixed(1)} minutes\n`);
  return 0;
}

/** Runs a file of tests, whose own limits are in it: jest itself may hang. @returns its exit code */
async function passes(spec) {
  rmSync(join(ROOT, "build/kubernetes-logs"), { recursive: true, force: true });
  const since = passedMinutes();
  const code = await inNamespaces(within(allowed(spec)), [
    join(ROOT, "node_modules/.bin/node"),
    ...JEST,
    spec,
  ]);
  if (code === KILLED)
    process.stderr.write(
      `margay: ${spec}: killed after ${(passedMinutes() - since).toFixed(1)} minutes: ${allowed(spec)} are allowed, else for want of memory, or with us\n`,
    );
  return code;
}

const passedMinutes = () => performance.now() / 60_000;
function skipped(why) {
  process.stderr.write(`skipped: e2e:kubernetes: ${why}\n`);
  return SKIPPED;
}

/** Run when it is named alone: what it needs takes 20 minutes to build, which CI has not. */
const ON_REQUEST = "calico.spec.ts";

/** Files of tests whose names contain one of the words; when there is none, all but one. Each makes a cluster of its own. */
function specs(words) {
  const all = readdirSync(HERE).filter((name) => name.endsWith(".spec.ts"));
  const isWanted = (name) =>
    words.length === 0 ? name !== ON_REQUEST : words.some((word) => name.includes(word));
  const wanted = all.filter(isWanted);
  if (wanted.length === 0) throw new SetupError(`no test of ${words.join(" ")}: there are ${all.join(", ")}`);
  return wanted.map((name) => join("e2e/kubernetes", name));
}

const inNamespaces = (bound, command) =>
  foreground([...bound, ...UNSHARE, "sh", "-c", PRIVATE, "sh", ...command]);

/** Why this machine cannot run them, in words; no failure of this tree. `buildMinutes`: the tools'. */
async function cannot(log, needs) {
  if (process.getuid() !== 0) return "it runs containers, which needs root";
  const little = tooLittle(areBuilt() ? undefined : toolsFolder());
  if (little) return little;
  const [command, ...words] = [...UNSHARE, "sh", "-c", PRIVATE, "sh", "true"];
  const { code, output } = await run(command, words);
  if (code !== 0) return `no namespaces with a cgroup2 of their own here: ${output.trim()}`;
  try {
    await prepare(log, needs);
  } catch (error) {
    if (error instanceof ToolsMissing || UNREACHED.test(error.message)) return error.message;
    throw error;
  }
}

async function prepare(log, { buildMinutes, isBesideCalico }) {
  await step(TOOLS, () => tools(log, buildMinutes));
  await step("Calico's definitions", () => fetchCalico(log));
  if (isBesideCalico) await step("Calico's programs", () => buildCalico(log, buildMinutes));
  const packages = { crun: "crun", curl: "curl", "golang-github-containers-common": undefined };
  await step("Debian packages", () => debianPackages(log, packages));
  await step("image", async () => {
    await image(log);
  });
}

process.exitCode = await kubernetes(process.argv.slice(2)).catch((error) => {
  if (!(error instanceof SetupError)) throw error;
  process.stderr.write(`margay: ${error.message}\n`);
  return 1;
});
