import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "@jest/globals";

/** Objects put and removed, by target, in both families together. */
type Writes = Readonly<Record<string, readonly [put: number, removed: number]>>;

test.each<[ruleset: string, remote: Writes, here: Writes, rule: Writes]>([
  // A set each; the two chains in which the pod's rules stand; the chain of the policy.
  ["iptables-nft", { "ipsets margay": [2000, 0] }, { chains: [4, 0] }, { chains: [2, 0] }],
  // Its address and its MAC, each in one set: no rule, and no chain.
  ["nftables", { nftables: [2000, 0] }, { nftables: [4, 0] }, { nftables: [2, 0] }],
])("among 1,000 policies a change writes only what is its own: %s", (ruleset, remote, here, rule) => {
  const file = fileURLToPath(new URL("testing/one-pod.ts", import.meta.url));
  const node = [process.execPath, "--conditions=margay-source", "--no-warnings", file, ruleset];
  const found = execFileSync("unshare", ["-Urnm", "--kill-child", ...node], { encoding: "utf8" });
  expect(JSON.parse(found)).toEqual({
    "a remote pod that every policy allows": remote,
    "a pod here that every policy selects": here,
    "a rule of one policy": rule,
    nothing: {},
  });
});
