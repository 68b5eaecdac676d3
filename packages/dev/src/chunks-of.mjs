// Which files a bundle consists of: chunks of earlier builds lie beside them (bundle.mjs keeps them for an hour).
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** The entry and every chunk it imports, now or lazily. */
export function chunksOf(entry) {
  const found = new Set();
  const look = (path) => {
    if (found.has(path)) return;
    found.add(path);
    for (const [, name] of readFileSync(path, "utf8").matchAll(/["'](\.\.?\/[^"'\s]*-[A-Z0-9]{8}\.mjs)["']/g))
      look(join(dirname(path), name));
  };
  look(entry);
  return [...found];
}
