import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { scratch } from "./scratch.ts";

/** Only in jest itself: `scratch` is for benchmarks too, and for programs that a test starts. */
const jest = "jest" in import.meta ? await import("@jest/globals") : undefined;

const inside = "MARGAY_TEST_UNSHARED";

/**
 * Declares `tests` in new user, network and mount namespaces, with /run private: jest runs the same file again under
 * `unshare -Urnm`, and its results are reported here, test by test. Needs no root; whatever the tests make vanishes
 * with the process.
 */
export function unshared(testFile: string, tests: () => void): void {
  rerunIn("-Urnm", testFile, tests);
}

/** The same for daemons that change their user: root keeps the users that there are, others see only themselves. */
export function unsharedWithUsers(testFile: string, tests: () => void): void {
  rerunIn(process.getuid?.() === 0 ? "-nm" : "-Urnm", testFile, tests);
}

function rerunIn(namespaces: string, testFile: string, tests: () => void): void {
  if (process.env[inside]) tests();
  else for (const result of rerun(namespaces, fileURLToPath(testFile))) report(result);
}

interface Result {
  readonly title: string;
  readonly status: string;
  readonly failureMessages: readonly string[];
}

function rerun(namespaces: string, path: string): Result[] {
  const directory = scratch(tmpdir(), "unshared");
  const output = join(directory, "results.json");
  try {
    const runner = join(dirname(createRequire(import.meta.url).resolve("jest/package.json")), "bin/jest.js");
    const node = [process.execPath, "--experimental-vm-modules", "--no-warnings", runner];
    const options = [
      "--runInBand",
      "--silent=false",
      "--forceExit", // a test that failed may have left something open, for which jest would wait
      "--json",
      `--outputFile=${output}`,
      `--cacheDirectory=${join(tmpdir(), `margay-jest-${process.getuid?.()}`)}`, // inside, every user's id is 0
      "--runTestsByPath",
      path,
    ];
    const script = 'mount -t tmpfs tmpfs /run && ip link set lo up && exec "$@"';
    const child = spawnSync("unshare", [namespaces, "sh", "-c", script, "sh", ...node, ...options], {
      env: { ...process.env, [inside]: "1" },
      encoding: "utf8",
      timeout: 1_800_000, // something hangs
    });
    process.stderr.write(child.stderr.replace(/^.*(PASS|FAIL) (.|\n)*$/m, ""));
    if (!existsSync(output))
      throw new Error(`jest under unshare ended without results: ${child.error ?? child.stderr}`);
    const parsed = JSON.parse(readFileSync(output, "utf8")) as {
      testResults: { assertionResults: Result[]; message: string }[];
    };
    return parsed.testResults.flatMap((file) =>
      file.assertionResults.length > 0
        ? file.assertionResults
        : [{ title: "the file runs under unshare", status: "failed", failureMessages: [file.message] }],
    );
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function report({ title, status, failureMessages }: Result): void {
  jest?.test(title, () => {
    if (status !== "passed") throw new Error(failureMessages.join("\n") || status);
  });
}
