import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "@jest/globals";

/** Issue 4, "Transactions", in full: the agent's own script with more updates than among its unit tests. Needs no lab. */
const SCRIPT = fileURLToPath(
  new URL("../packages/agent/src/rulesets/testing/transactions.ts", import.meta.url),
);

interface Count {
  readonly sent: number;
  readonly answered: number;
}

type Report = Readonly<Record<"allowed" | "denied" | "established", Count>>;

function probed(options: string): Report {
  const node = [process.execPath, "--conditions=margay-source", "--no-warnings", SCRIPT];
  const out = execFileSync("unshare", ["-Urnm", "--kill-child", ...node, ...options.split(" ")], {
    encoding: "utf8",
    timeout: 880_000,
  });
  return JSON.parse(out) as Report;
}

test.each([
  ["nftables", "--updates 1000"],
  ["iptables-nft", "--updates 1000"],
  ["iptables-legacy", "--updates 1000"],
  ["nftables", "--kills 10"],
  ["iptables-nft", "--kills 10"],
  ["iptables-legacy", "--kills 10"],
])(
  "%s %s, under a stream of probes: nothing is let through and nothing dropped that neither state would",
  (backend, what) => {
    const { allowed, denied, established } = probed(`--backend ${backend} ${what} --every-ms 5`);
    expect(allowed.sent).toBeGreaterThan(500);
    expect([allowed.answered, denied.answered, established.answered]).toEqual([
      allowed.sent,
      0,
      established.sent,
    ]);
  },
);
