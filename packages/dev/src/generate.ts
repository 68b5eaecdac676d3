// `npm run generate`: writes what is made from the code. `--check` writes nothing and fails when something is stale.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { customKinds, definitions } from "@margay/api";
import { kindsTemplate, valuesPage, valuesSchema, valuesYaml } from "./chart/pages.ts";
import { commandsPage } from "./command-reference.ts";
import { crd } from "./crds.ts";
import { resourcesPage } from "./reference.ts";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const CRDS = "charts/margay/crds";

/** What `margay` prints for these words. */
const help = (words: readonly string[]): string =>
  execFileSync(
    process.execPath,
    [
      "--conditions=margay-source",
      "--no-warnings",
      join(ROOT, "packages/margay/src/main.ts"),
      ...words,
      "--help",
    ],
    {
      encoding: "utf8",
      // What the caller's environment sets would show as defaults.
      env: { PATH: process.env.PATH },
    },
  );

/** Every generated file, by path from the root. */
const wanted = new Map<string, string>([
  ["docs/reference/resources.md", resourcesPage()],
  ["docs/reference/cli.md", commandsPage(help)],
  ["docs/reference/values.md", valuesPage()],
  ["charts/margay/templates/_kinds.tpl", kindsTemplate()],
  ["charts/margay/values.yaml", valuesYaml()],
  ["charts/margay/values.schema.json", valuesSchema()],
  ...customKinds.map((kind): [string, string] => [`${CRDS}/${definitions[kind].plural}.yaml`, crd(kind)]),
]);

const read = (path: string): string | undefined =>
  existsSync(join(ROOT, path)) ? readFileSync(join(ROOT, path), "utf8") : undefined;
const orphans = (existsSync(join(ROOT, CRDS)) ? readdirSync(join(ROOT, CRDS)) : [])
  .map((name) => `${CRDS}/${name}`)
  .filter((path) => !wanted.has(path));
const stale = [...wanted].filter(([path, text]) => read(path) !== text);

if (process.argv.includes("--check")) {
  for (const path of [...stale.map(([path]) => path), ...orphans])
    process.stderr.write(`stale: ${path} (npm run generate)\n`);
  process.exitCode = stale.length + orphans.length > 0 ? 1 : 0;
} else {
  for (const [path, text] of stale) {
    mkdirSync(dirname(join(ROOT, path)), { recursive: true });
    writeFileSync(join(ROOT, path), text);
    process.stdout.write(`wrote ${path}\n`);
  }
  for (const path of orphans) rmSync(join(ROOT, path));
}
