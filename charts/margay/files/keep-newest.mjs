// node keep-newest.mjs <folder> <count> [<spared>]: removes all but the newest *.db files, and the one that members are restored from.
import { readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";

const [folder, count, spared] = process.argv.slice(2);
const files = readdirSync(folder)
  .filter((name) => name.endsWith(".db") && name !== spared)
  .map((name) => join(folder, name));
const byAge = files.map((path) => ({ path, time: statSync(path).mtimeMs })).sort((a, b) => b.time - a.time);
for (const { path } of byAge.slice(Number(count))) rmSync(path);
