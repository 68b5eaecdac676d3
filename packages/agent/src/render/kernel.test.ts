import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "@jest/globals";

/** Needs no root: the child is root in a user namespace of its own, and all it makes vanishes with it. */
const inNamespace = (...command: string[]): string =>
  execFileSync(
    "unshare",
    ["-Urnm", "--kill-child", process.execPath, "--conditions=margay-source", "--no-warnings", ...command],
    { encoding: "utf8", timeout: 60_000 },
  );

test.each(["nft", "legacy"])(
  "real packets between real pods meet the verdicts that were evaluated: iptables-%s",
  (backend) => {
    const file = fileURLToPath(new URL("testing/kernel.ts", import.meta.url));
    const { disagreements, seen, spoofed, refusedByReversePath } = JSON.parse(inNamespace(file, backend));
    expect(disagreements).toEqual([]);
    // 4 scenarios of 72 flows each.
    expect(seen.allow + seen.deny).toBe(288);
    expect(Math.min(seen.allow, seen.deny)).toBeGreaterThan(80);
    expect(spoofed).toBe("deny");
    expect(refusedByReversePath).toBeGreaterThan(0);
  },
  90_000,
);
