// npm packages: installed exactly when node_modules is not what package-lock.json says.
import { existsSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { must, SetupError } from "./progress.mjs";

/**
 * What the lock says, when it is not there yet; npm's own hidden lock file is the record of what is. Not `npm ci`: it refuses
 * a lock without the optional packages of every platform, which not every registry carries. @returns false when up to date
 */
export async function npmPackages(root, log) {
  if (installed(root)) return false;
  await must("npm", ["install", "--no-save", "--no-progress"], { cwd: root, log, what: "npm install" });
  linkNode(join(root, "node_modules"));
}

/** npm 10 takes the link away again, with the package of the other architecture, whose program has the same name. */
function linkNode(modules) {
  const link = join(modules, ".bin/node");
  if (existsSync(link)) return;
  const own = `node-linux-${process.arch}/bin/node`;
  if (!existsSync(join(modules, own)))
    throw new SetupError(`no Node.js 24 for ${process.arch} among the npm packages: x64 and arm64 only`);
  rmSync(link, { force: true });
  symlinkSync(`../${own}`, link);
}

function installed(root) {
  const hidden = join(root, "node_modules/.package-lock.json");
  if (!existsSync(hidden) || !existsSync(join(root, "node_modules/.bin/node"))) return false;
  const wanted = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")).packages;
  const there = JSON.parse(readFileSync(hidden, "utf8")).packages;
  return Object.entries(wanted).every(([path, { version, optional, link, peer }]) => {
    const outside = !path.includes("node_modules/"); // the root and the workspaces themselves
    const mayLack = (optional || peer) && there[path] === undefined; // another platform's
    return outside || link || mayLack || there[path]?.version === version;
  });
}
