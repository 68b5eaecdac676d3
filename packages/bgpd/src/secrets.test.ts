/** Secrets in a directory, laid out and changed as the kubelet does. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { SecretFiles } from "./secrets.ts";
import { eventually } from "./testing/bird.ts";

let dir: string;
let secrets: SecretFiles;
let changes: number;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "margay-secrets-"));
  changes = 0;
  secrets = new SecretFiles(dir, () => changes++);
});
afterEach(() => {
  secrets.close();
  rmSync(dir, { recursive: true });
});

/** One state of a mounted Secret: files in a directory of their own, reached by way of `..data`, which is swapped. */
function mount(name: string, version: number, password: string): void {
  const secret = join(dir, name);
  mkdirSync(join(secret, `..v${version}`), { recursive: true });
  writeFileSync(join(secret, `..v${version}`, "password"), `${password}\n`);
  symlinkSync(`..v${version}`, join(secret, "..next"));
  renameSync(join(secret, "..next"), join(secret, "..data"));
  if (version === 1) symlinkSync("..data/password", join(secret, "password"));
}

test("a Secret that comes, and changes: who asked is told to ask again; a line's end is no part of it", async () => {
  expect(secrets.read("bgp", "password")).toBeUndefined();
  mount("bgp", 1, "sesame");
  await eventually(() => changes > 0, true);
  expect(secrets.read("bgp", "password")).toBe("sesame");
  await new Promise((resolve) => setTimeout(resolve, 300)); // what mounting has stirred up
  secrets.read("bgp", "password");
  const before = changes;
  mount("bgp", 2, "open");
  await eventually(() => changes > before, true);
  expect(secrets.read("bgp", "password")).toBe("open");
});

test("an empty file and a directory that is not there hold nothing", () => {
  mkdirSync(join(dir, "bgp"));
  writeFileSync(join(dir, "bgp", "empty"), "\n");
  expect(secrets.read("bgp", "empty")).toBeUndefined();
  const nowhere = new SecretFiles(join(dir, "nowhere"), () => {});
  expect(nowhere.read("bgp", "password")).toBeUndefined();
  nowhere.close();
});
