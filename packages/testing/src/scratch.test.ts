import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { scratch } from "./scratch.ts";

let parent: string;
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), "scratch-test-"));
});
afterEach(() => rmSync(parent, { recursive: true }));

test("what a process that is gone left goes; what lives, or is nobody's we know, stays", () => {
  const own = scratch(parent, "etcd");
  const [, namespace = "", started = ""] = /-(\d+)-\d+-(\d+)-\w+$/.exec(own) ?? [];
  const names = {
    gone: `margay-etcd-${namespace}-4194305-1-abcdef`, // above the kernel's highest pid
    reused: `margay-etcd-${namespace}-${process.pid}-${Number(started) - 1}-abcdef`,
    foreign: "margay-other",
    elsewhere: "margay-etcd-1-4194305-1-abcdef", // of a process that only its own namespace knows
  };
  for (const name of Object.values(names)) mkdirSync(join(parent, name, "inside"), { recursive: true });
  const second = scratch(parent, "bird");
  expect(readdirSync(parent).sort()).toEqual(
    [basename(own), basename(second), names.foreign, names.elsewhere].sort(),
  );
  expect(existsSync(own)).toBe(true);
});
