import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";

/** The chart's scripts, run as its containers run them. */
const FILES = fileURLToPath(new URL("../../../../charts/margay/files", import.meta.url));
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "margay-chart-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const run = (script: string, ...words: string[]) =>
  spawnSync(process.execPath, [join(FILES, script), ...words], { encoding: "utf8" });
const at = (path: string) => join(folder, path);
const text = (path: string) => (existsSync(at(path)) ? readFileSync(at(path), "utf8") : undefined);

describe("a member begins with a snapshot, once", () => {
  beforeEach(() => {
    for (const path of ["snapshots", "restored", "etcd/data"]) mkdirSync(at(path), { recursive: true });
    writeFileSync(at("snapshots/a.db"), "of a.db");
    writeFileSync(at("etcd/data/db"), "newer");
  });
  const step = (name: string, members = 1) =>
    run("restore-once.mjs", name, at("restored"), at("etcd/data"), at("snapshots/a.db"), `${members}`);
  /** A start of the pod; between the steps etcdctl makes data of what was chosen, and refuses a directory that is there. */
  const start = (members = 1) => {
    expect(step("choose", members).stderr).toBe("");
    mkdirSync(at("restored/data"));
    writeFileSync(at("restored/data/db"), text("restored/snapshot") ?? "");
    expect(step("take", members).stderr).toBe("");
    return text("etcd/data/db");
  };

  test("its former data stays beside; what etcdctl made takes no room", () => {
    expect(start()).toBe("of a.db");
    const [before = ""] = readdirSync(at("etcd")).filter((name) => name.startsWith("data.before-"));
    expect(text(`etcd/${before}/db`)).toBe("newer");
    expect(existsSync(at("restored/data"))).toBe(false);
  });

  test("later starts, also after a reboot in the midst of one, need no file and take nothing", () => {
    start();
    writeFileSync(at("etcd/data/db"), "written since");
    rmSync(at("snapshots"), { recursive: true });
    mkdirSync(at("restored/data"));
    expect(start()).toBe("written since");
    expect(readFileSync(at("restored/snapshot"))).toEqual(createHash("sha256").digest()); // etcdctl takes it: e2e/kubernetes
    expect(start()).toBe("written since");
  });

  test.each([
    ["a.db for 1", 1, "newer"],
    ["a.db", 1, "newer"], // what former releases wrote
    ["a.db for 1", 3, "of a.db"], // three members are another cluster
    ["b.db for 1", 1, "of a.db"],
  ])("restored from %p, asked for %i: %p", (mark, members, expected) => {
    writeFileSync(at("etcd/data.restored-from"), mark);
    expect(start(members)).toBe(expected);
  });

  test("a file that is missing is said, and the data stays", () => {
    rmSync(at("snapshots/a.db"));
    const { status, stderr } = step("choose");
    expect(status).not.toBe(0);
    expect(stderr).toContain("a.db is not among the snapshots of this node");
    expect(text("etcd/data/db")).toBe("newer");
  });
});

test.each([
  ["", ["3.db", "4.db", "notes"]],
  ["1.db", ["1.db", "3.db", "4.db", "notes"]], // members are restored from it
])("the newest two are kept, and %p", (spared, left) => {
  for (const [i, name] of ["notes", "1.db", "2.db", "3.db", "4.db"].entries()) {
    writeFileSync(at(name), "");
    utimesSync(at(name), i, i);
  }
  expect(run("keep-newest.mjs", folder, "2", spared).status).toBe(0);
  expect(readdirSync(folder).sort()).toEqual(left);
});
