// Calico's felix, CNI plugins and calicoctl, built once from calico/go.mod into the user's cache: what Margay is moved from, and measured beside.
import { copyFileSync, existsSync, renameSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { must } from "../../packages/dev/src/progress.mjs";
import { cacheOf, goBuild, ToolsMissing } from "./tools.mjs";

const MODULE = fileURLToPath(new URL("calico/", import.meta.url));
const CALICO = "github.com/projectcalico/calico";
const PROGRAMS = {
  "calico-felix": `${CALICO}/felix/cmd/calico-felix`,
  calico: `${CALICO}/cni-plugin/cmd/calico`,
  calicoctl: `${CALICO}/calicoctl/calicoctl`,
};
const DEFINITIONS = "crds.yaml";
/** Compiled as a release is: they are measured. */
const FLAGS = ["-trimpath", "-ldflags", "-s -w"];

/** The folder of the programs and of `crds.yaml`, Calico's definitions of its kinds, whether there or not. */
export const calicoFolder = () => cacheOf(MODULE, "calico");

export const haveCalico = () =>
  [...Object.keys(PROGRAMS), DEFINITIONS].every((name) => existsSync(join(calicoFolder(), name)));

/** @returns false when they were there; says it when they cannot be had, which is no failure of this tree */
export async function buildCalico(log, minutesLeft) {
  if (haveCalico()) return false;
  const folder = calicoFolder();
  const what = "Calico's programs";
  try {
    const packages = Object.values(PROGRAMS);
    await goBuild({ module: MODULE, folder, what, packages, flags: FLAGS, minutesLeft, log });
  } catch (error) {
    if (!(error instanceof ToolsMissing)) throw error;
    process.stderr.write(`the tests beside Calico are skipped: ${error.message}\n`);
    return false;
  }
  const source = (await must("go", ["list", "-m", "-f", "{{.Dir}}", CALICO], { cwd: MODULE })).trim();
  copyFileSync(join(source, "manifests", DEFINITIONS), join(folder, `${DEFINITIONS}.new`));
  renameSync(join(folder, `${DEFINITIONS}.new`), join(folder, DEFINITIONS));
}
