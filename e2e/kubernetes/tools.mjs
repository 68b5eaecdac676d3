// The Go programs of `npm run e2e:kubernetes`, built once from tools/go.mod into the user's cache.
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { must, run, SetupError, telling } from "../../packages/dev/src/progress.mjs";

const MODULE = fileURLToPath(new URL("tools/", import.meta.url));
const KUBERNETES = "k8s.io/kubernetes";
const PROGRAMS = {
  helm: "helm.sh/helm/v3/cmd/helm",
  kubectl: `${KUBERNETES}/cmd/kubectl`,
  "kube-apiserver": `${KUBERNETES}/cmd/kube-apiserver`,
  "kube-proxy": `${KUBERNETES}/cmd/kube-proxy`,
};
export const TOOLS = Object.keys(PROGRAMS).join(", ");

/** Why the programs are not here and cannot be built here. */
export class ToolsMissing extends Error {}

/** The folder of the programs as tools/go.mod pins them, whether built or not. */
export const toolsFolder = () => cacheOf(MODULE, "kubernetes-tools");

/** The folder of what a Go module pins, in the user's cache, whether built or not. */
export function cacheOf(module, name) {
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
  const pinned = ["go.mod", "go.sum"].map((file) => readFileSync(join(module, file)));
  const id = createHash("sha256").update(Buffer.concat(pinned)).digest("hex").slice(0, 12);
  return join(cache, `margay/${name}/${id}`);
}

const missing = () => Object.keys(PROGRAMS).filter((name) => !existsSync(join(toolsFolder(), name)));

/** Neither inlining nor DWARF: a third of the compiler's time, and nobody measures or debugs these programs. */
const QUICKLY = ["-gcflags=all=-l -dwarf=false", "-pgo=off", "-trimpath"];
/**
 * One build at a time, in a folder beside: a program has its place by a rename, when all are whole. What an interrupted build
 * has compiled is in Go's own cache, and the next one goes on from there.
 */
const BUILD = `to=$1; shift
rm -rf "$to.new" && mkdir -p "$to" "$to.new" &&
nice -n 15 go build -o "$to.new/" "$@" && mv "$to.new"/* "$to" && rmdir "$to.new"`;

/** From nothing, on a machine that is several times as busy as it should be. */
const BUILD_MINUTES = 30;
/** What Go says of modules that it cannot fetch, or that its proxy does not give, and of a machine with too little room. */
const UNABLE =
  /no space left|cannot allocate memory|signal: killed|dial tcp|no such host|i\/o timeout|TLS handshake|connection re(?:fused|set)|GOPROXY=off|(?:reading|Get) "?https?:/;

/** Whether all of them are there. */
export const areBuilt = () => missing().length === 0;

/** Builds what is missing. @returns false when nothing was; ToolsMissing without a Go that can, its modules, or time */
export async function tools(log, minutesLeft = BUILD_MINUTES) {
  const wanted = missing();
  if (wanted.length === 0) return false;
  const packages = wanted.map((name) => PROGRAMS[name]);
  const flags = [...QUICKLY, "-ldflags", stamps()];
  await goBuild({ module: MODULE, folder: toolsFolder(), what: TOOLS, packages, flags, minutesLeft, log });
}

/** `go build` of a module's packages into a folder. ToolsMissing where that cannot be done here, SetupError where it fails. */
export async function goBuild({ module, folder, what, packages, flags, minutesLeft = BUILD_MINUTES, log }) {
  const minutes = Math.min(BUILD_MINUTES, minutesLeft);
  if (minutes <= 0) throw new ToolsMissing(`${what} are not built, and no time is left for that`);
  await needGo(module, what);
  await must("mkdir", ["-p", join(folder, "..")]);
  const words = [`${folder}.lock`, "sh", "-c", BUILD, "sh", folder, ...flags];
  const env = { CGO_ENABLED: "0", GOFLAGS: "-buildvcs=false -mod=readonly" };
  const bounded = [`${minutes}m`, "flock", ...words, ...packages];
  const { code, output } = await run("timeout", bounded, { cwd: module, env, log });
  if (code === 0) return;
  if (code === 124)
    throw new ToolsMissing(
      `${what} were not built within ${minutes.toFixed(1)} minutes; the next build goes on from there`,
    );
  const said = output.split("\n").find((line) => UNABLE.test(line));
  if (said) throw new ToolsMissing(`${what} are not built, and cannot be here: ${said.trim()}`);
  throw new SetupError(`go build failed: ${telling(output)} (all of it: ${log})`);
}

/** Go, and new enough for go.mod. */
async function needGo(module, what) {
  const { code, output } = await run("go", ["list", "-m"], { cwd: module }).catch((error) => ({
    code: 1,
    output: error.message,
  }));
  if (code !== 0)
    throw new ToolsMissing(`${what} are not built, and there is no Go to build them with: ${output.trim()}`);
}

/** What a release's own build writes into its programs: the API server answers /version with it, the chart asks it. */
function stamps() {
  const [, version] = new RegExp(`${KUBERNETES} (v\\S+)`).exec(readFileSync(join(MODULE, "go.mod"), "utf8"));
  const [major, minor] = version.slice(1).split(".");
  const at = ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"];
  const values = { gitVersion: version, gitMajor: major, gitMinor: minor };
  const words = at.flatMap((place) => Object.entries(values).map(([k, v]) => `-X ${place}.${k}=${v}`));
  return ["-s", "-w", ...words].join(" ");
}
