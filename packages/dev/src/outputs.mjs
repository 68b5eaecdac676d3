// Where things are built, and whether they are older than what they are built from.
import { existsSync, readdirSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");
export const DIST = join(ROOT, "packages/margay/dist");
export const ADDON = join(ROOT, `packages/netlink/native/build/margay-netlink-${process.arch}.node`);

/** Every file below a folder; none when there is no folder. */
export function files(folder) {
  if (!existsSync(folder)) return [];
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
}

/** When a file was last written, in milliseconds. */
export const time = (path) => statSync(path).mtimeMs;

/** Is an output missing or older than a source? */
export function stale(outputs, sources) {
  if (outputs.length === 0 || !outputs.every((path) => existsSync(path))) return true;
  return Math.min(...outputs.map(time)) < Math.max(...sources.map(time));
}
