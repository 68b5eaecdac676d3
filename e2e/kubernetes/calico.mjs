// Calico's own definitions of its kinds (crd.projectcalico.org/v1), out of kOps' Go module, once, into the user's cache.
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { run } from "../../packages/dev/src/progress.mjs";
import { toolsFolder } from "./tools.mjs";

/** kOps ships Calico's manifest, this one that of v3.29.2; a module proxy need not have Calico's own modules. */
const MODULE = "k8s.io/kops@v1.32.0";
const SUM = "h1:DXZ32bkbWO5Ycd+UvO9I4c4UBf/KHG47HZO/EPGpVsk=";
const MANIFEST = "upup/models/cloudup/resources/addons/networking.projectcalico.org/k8s-1.25.yaml.template";
const isDefinition = (document) =>
  /^kind: CustomResourceDefinition$/m.test(document) &&
  /^ {2}group: crd\.projectcalico\.org$/m.test(document);

/** The file of them, whether it is there or not: one test needs it. */
export const calicoDefinitions = () => join(dirname(toolsFolder()), "calico-v3.29.2.yaml");

/** @returns false when they were there; says it when they cannot be had, which is no failure of this tree */
export async function fetchCalico(log) {
  const path = calicoDefinitions();
  if (existsSync(path)) return false;
  const env = { GOFLAGS: "-mod=mod", GONOSUMDB: "k8s.io/kops" }; // the sum is here
  const words = ["5m", "go", "mod", "download", "-json", MODULE];
  const { code, output } = await run("timeout", words, { cwd: tmpdir(), env, log });
  const { Dir, Sum } = code === 0 ? JSON.parse(output) : {};
  if (Sum !== SUM) {
    const why = Sum ?? /"Error": "(.*)"/.exec(output)?.[1] ?? output.trim();
    process.stderr.write(`a test of moving is skipped, Calico's definitions cannot be had: ${why}\n`);
    return false;
  }
  const documents = readFileSync(join(Dir, MANIFEST), "utf8").split(/^---$/m);
  writeFileSync(`${path}.new`, documents.filter(isDefinition).join("---"));
  renameSync(`${path}.new`, path);
}
