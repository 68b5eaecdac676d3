// `npm run layers`: refuses an import that goes up or sideways, and I/O in a pure package. The rules are in layer-rules.mjs.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { isTest, violations } from "./layer-rules.mjs";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");
const manifest = (folder) => JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
const rootDev = Object.keys(manifest(ROOT).devDependencies);

let found = 0;
let checked = 0;

for (const name of readdirSync(join(ROOT, "packages"))) {
  const folder = join(ROOT, "packages", name);
  const { dependencies = {}, optionalDependencies = {}, devDependencies = {} } = manifest(folder);
  const atRunTime = Object.keys({ ...dependencies, ...optionalDependencies });
  const atTest = [...atRunTime, ...Object.keys(devDependencies), ...rootDev];
  for (const entry of readdirSync(join(folder, "src"), { recursive: true })) {
    if (!/\.(ts|mts|mjs)$/.test(entry)) continue;
    checked++;
    const path = join(folder, "src", entry);
    const source = readFileSync(path, "utf8");
    const declared = new Set(isTest(entry) || name === "dev" ? atTest : atRunTime);
    for (const { line, text } of violations({ package: name, file: entry, source, declared })) {
      process.stdout.write(`${relative(ROOT, path)}:${line}: ${text}\n`);
      found++;
    }
  }
}
process.stdout.write(
  found === 0 ? `layers: ${checked} files follow the rules\n` : `layers: ${found} violations\n`,
);
process.exitCode = found === 0 ? 0 : 1;
