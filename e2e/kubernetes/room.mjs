// What the cluster tests take of a machine, looked at before anything is built: none shall fail half-way for want of room.
import { existsSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname } from "node:path";
import { ROOT } from "../../packages/dev/src/outputs.mjs";

const GiB = 2 ** 30;
/** Of the whole tree of processes at its peak, measured in README.md, and half as much again. */
const MEMORY = 3 * GiB;
/** Images, logs and the data of three etcds, below the tree and below TMPDIR. */
const RUNNING = 2 * GiB;
/** Go's modules, what it compiles, and the programs. */
const BUILDING = 6 * GiB;

/** What there is, as this process sees it. */
const machine = { memory: () => process.availableMemory(), free: freeBelow };

/** @param build the folder that tools are built in, when they are not there. @returns what is too little, in words */
export function tooLittle(build, { memory, free } = machine) {
  if (memory() < MEMORY) return `${size(MEMORY)} of memory are needed, and ${size(memory())} are free`;
  const folders = [[ROOT, RUNNING], [tmpdir(), RUNNING], ...(build ? [[build, BUILDING]] : [])];
  for (const [folder, bytes] of folders)
    if (free(folder) < bytes)
      return `${size(bytes)} are needed below ${folder}, and ${size(free(folder))} are free`;
}

const size = (bytes) => `${(bytes / GiB).toFixed(1)} GiB`;

/** Of the file system that a folder is on, or will be on once it is made. */
function freeBelow(folder) {
  if (!existsSync(folder)) return freeBelow(dirname(folder));
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}
