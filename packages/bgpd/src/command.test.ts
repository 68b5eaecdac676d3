/** `margay bgpd --check`: what it prints, and its exit code. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, expect, jest, test } from "@jest/globals";
import { command } from "./command.ts";

const dir = mkdtempSync(join(tmpdir(), "margay-check-"));
const file = join(dir, "router.yaml");
afterEach(() => {
  process.exitCode = undefined;
  jest.restoreAllMocks();
});
afterAll(() => rmSync(dir, { recursive: true }));

const local = "local: {as: 65000, router-id: 192.0.2.1}";
test.each<[string, string | undefined, number, RegExp]>([
  [
    "right",
    `${local}\nnetworks: [10.9.0.0/16]\nneighbors: [{address: 10.0.0.2, as: 65000}]`,
    0,
    /router\.yaml is right: 1 neighbor, 1 network\n$/,
  ],
  [
    "right, and exchanges less than it may seem (RFC 8212)",
    `${local}\nneighbors: [{address: 10.0.0.2, as: 1, import: accept}, {listen-range: 10.1.0.0/16, as: 1, export: accept}]`,
    0,
    /: 2 neighbors, 0 networks\n10\.0\.0\.2: no export policy: .*\n10\.1\.0\.0: no import policy: .*\n$/,
  ],
  [
    "wrong: each fault on a line",
    `${local}\nneighbors: [{address: 10.0.0.2, as: 0}, {as: 1}]`,
    1,
    /neighbors\[0\]\.as: .*\n.*neighbors\[1\]\.address: .*\n$/,
  ],
  ["no YAML", "local: [", 1, /router\.yaml: /],
  ["not there", undefined, 1, /ENOENT.*router\.yaml/],
])("--check, a file that is %s", async (_what, text, code, said) => {
  if (text === undefined) rmSync(file);
  else writeFileSync(file, text);
  const printed: string[] = [];
  for (const stream of [process.stdout, process.stderr])
    jest
      .spyOn(stream, "write")
      .mockImplementation(
        (chunk) => printed.push(`${(code === 0) === (stream === process.stdout)} ${chunk}`) > 0,
      );
  await command.handler({ configFile: file, check: true, secretsDir: dir } as never); // what it uses of the flags
  expect(process.exitCode).toBe(code);
  expect(printed.join("")).toMatch(said);
  expect(printed.join("")).toMatch(/^true /); // to stdout when right, else to stderr
});
