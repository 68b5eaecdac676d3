import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "@jest/globals";

const CI = fileURLToPath(new URL("../../.ci/run", import.meta.url));

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "margay-ci-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** .ci/run, where npm is a program that ends as told. */
function ci({ tests, kubernetes }: { tests: number; kubernetes: number }) {
  const npm = `#!/bin/sh
echo "npm $*"
[ "$1" = test ] && exit ${tests}
echo "minutes: $MARGAY_KUBERNETES_MINUTES"
exit ${kubernetes}
`;
  writeFileSync(join(folder, "npm"), npm, { mode: 0o755 });
  const env = { ...process.env, PATH: `${folder}:${process.env.PATH}` };
  const { status, stdout, stderr } = spawnSync(CI, { env, encoding: "utf8" });
  return { status, stdout, stderr };
}

test("all passes: the cluster tests have what npm test has left", () => {
  const { status, stdout, stderr } = ci({ tests: 0, kubernetes: 0 });
  expect(stdout).toBe("npm test\nnpm run -s e2e:kubernetes\nminutes: 85\n");
  expect([status, stderr]).toEqual([0, ""]);
});

test("npm test fails: that is the answer", () => {
  const { status, stdout } = ci({ tests: 1, kubernetes: 0 });
  expect([status, stdout]).toEqual([1, "npm test\n"]);
});

test.each([
  ["a test fails", 1, 1],
  ["a file is killed", 137, 137],
  ["not all could be run: said, and no failure", 75, 0],
])("cluster tests: %s", (_why, code, expected) => {
  const { status, stderr } = ci({ tests: 0, kubernetes: code });
  expect(status).toBe(expected);
  if (code === 75) expect(stderr).toContain("NOT ALL WAS TESTED");
  else expect(stderr).toBe("");
});
