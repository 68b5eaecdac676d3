// node take-restored.mjs <restored> <data> <snapshot>: a member's data becomes what was restored, once for each snapshot.
import { cpSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";

const [restored, data, snapshot] = process.argv.slice(2);
const mark = `${data}.restored-from`;
if (existsSync(mark) && readFileSync(mark, "utf8") === snapshot) process.exit(0);
rmSync(`${data}.new`, { recursive: true, force: true });
cpSync(restored, `${data}.new`, { recursive: true }); // from another file system
if (existsSync(data)) renameSync(data, `${data}.before-${new Date().toISOString().replaceAll(":", "")}`);
renameSync(`${data}.new`, data);
writeFileSync(mark, snapshot);
