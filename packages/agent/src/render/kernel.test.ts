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

test.each(["nft", "legacy", "nftables"])(
  "real packets between real pods meet the verdicts that were evaluated: %s",
  (backend) => {
    const file = fileURLToPath(new URL("testing/kernel.ts", import.meta.url));
    const seed = Math.floor(Math.random() * 2 ** 31);
    const { disagreements, seen, spoofed, refusedByReversePath } = JSON.parse(
      inNamespace(file, backend, String(seed)),
    );
    expect({ seed, disagreements }).toEqual({ seed, disagreements: [] });
    // 4 scenarios and 6 random ones of 72 flows each.
    expect(seen.allow + seen.deny).toBe(720);
    expect(Math.min(seen.allow, seen.deny)).toBeGreaterThan(80);
    expect(spoofed).toBe("deny");
    expect(refusedByReversePath).toBeGreaterThan(0);
  },
  90_000,
);
