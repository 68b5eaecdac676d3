// The Go programs of `npm run e2e:kubernetes`, built once from tools/go.mod into the user's cache.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { must, run } from "../../packages/dev/src/progress.mjs";

const MODULE = fileURLToPath(new URL("tools/", import.meta.url));
const KUBERNETES = "k8s.io/kubernetes";
const PROGRAMS = {
  helm: "helm.sh/helm/v3/cmd/helm",
  kubectl: `${KUBERNETES}/cmd/kubectl`,
  "kube-apiserver": `${KUBERNETES}/cmd/kube-apiserver`,
};

/** Why the programs are not here and cannot be built here. */
export class ToolsMissing extends Error {}

/** The folder of helm, kubectl and kube-apiserver as tools/go.mod pins them, whether built or not. */
export function toolsFolder() {
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
  const pinned = ["go.mod", "go.sum"].map((name) => readFileSync(join(MODULE, name)));
  const id = createHash("sha256").update(Buffer.concat(pinned)).digest("hex").slice(0, 12);
  return join(cache, `margay/kubernetes-tools/${id}`);
}

export const toolsBuilt = () => Object.keys(PROGRAMS).every((name) => existsSync(join(toolsFolder(), name)));

/** Builds what is missing: most of an hour of one core the first time. @returns false when nothing was; ToolsMissing without Go */
export async function tools(log) {
  if (toolsBuilt()) return false;
  await needGo();
  const folder = toolsFolder();
  const fresh = `${folder}.${process.pid}`;
  mkdirSync(fresh, { recursive: true });
  mkdirSync(folder, { recursive: true });
  for (const [name, path] of Object.entries(PROGRAMS)) {
    if (existsSync(join(folder, name))) continue;
    const args = ["-n", "15", "go", "build", "-p", "1", "-trimpath", "-ldflags", stamps(), "-o"];
    const env = { CGO_ENABLED: "0", GOFLAGS: "-buildvcs=false -mod=readonly" };
    await must("nice", [...args, join(fresh, name), path], {
      cwd: MODULE,
      env,
      log,
      what: `go build ${name}`,
    });
    renameSync(join(fresh, name), join(folder, name));
  }
  rmSync(fresh, { recursive: true });
}

async function needGo() {
  const { code, output } = await run("go", ["version"]).catch((error) => ({
    code: 1,
    output: error.message,
  }));
  if (code !== 0)
    throw new ToolsMissing(`Go is missing, and with it kube-apiserver and helm: ${output.trim()}`);
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
