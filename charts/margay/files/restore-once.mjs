// node restore-once.mjs <choose|take> <folder> <data> <snapshot> <members>: a member's data becomes what etcdctl restores to <folder>/data,
// once for each snapshot and number of members.
// choose: what etcdctl is to restore, <folder>/snapshot. Nothing in etcdctl's image could skip that step: what was taken already is needed no
//   more, and a snapshot of nothing is in its place.
// take: makes it the member's data, and remembers that.
import { createHash } from "node:crypto";
import { cpSync, existsSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { basename } from "node:path";

const [step, folder, data, snapshot, members] = process.argv.slice(2);
const restored = `${folder}/data`;
const mark = `${data}.restored-from`;
const file = basename(snapshot);
const wanted = `${file} for ${members}`;
const former = existsSync(mark) ? readFileSync(mark, "utf8") : "";
const taken = former === wanted || former === file; // former releases wrote the name alone

function choose() {
  for (const old of [restored, `${folder}/snapshot`]) rmSync(old, { recursive: true, force: true }); // of a start before a reboot
  if (taken) writeFileSync(`${folder}/snapshot`, createHash("sha256").digest()); // a database of no bytes, and the hash behind it
  else if (existsSync(snapshot)) symlinkSync(snapshot, `${folder}/snapshot`);
  else throw new Error(`${file} is not among the snapshots of this node: copy it there (docs/guide/upgrade.md)`);
}

function take() {
  if (!taken) {
    rmSync(`${data}.new`, { recursive: true, force: true });
    cpSync(restored, `${data}.new`, { recursive: true }); // from another file system
    if (existsSync(data)) renameSync(data, `${data}.before-${new Date().toISOString().replaceAll(":", "")}`);
    renameSync(`${data}.new`, data);
    writeFileSync(mark, wanted);
  }
  rmSync(restored, { recursive: true, force: true });
}

({ choose, take })[step]();
