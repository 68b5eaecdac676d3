import { expect, test } from "@jest/globals";
import type { LocalEndpoint } from "@margay/calc";
import type { RenderConfig } from "./config.ts";
import { connectionLimits } from "./connection-limit.ts";
import { unsharedScript } from "./testing/unshared.ts";

test.each([
  ["nftables", [0, 2]],
  ["nft", [0, 2]],
  // The kernel counts in the rule, and a legacy table is written as a whole: each change of any rule forgets the count.
  ["legacy", [2, 1]],
])("limits of connections and code points, with real packets: %s", (backend, [afterChange, afterEnd]) => {
  expect(unsharedScript("qos-kernel.ts", backend)).toEqual({
    "to a, 3 at most": [3, 0],
    "to a, by IPv6": 3, // a count of its own
    "to b, no limit": 5,
    "from c, 2 at most": 2,
    "after another change": afterChange,
    "when some have ended": afterEnd,
    "marked and still whole": ["allow", "allow", "allow", "allow"],
    "code points outside": ["ip ef", "ip6 ef"],
    "code points in the cluster": ["ip cs0", "ip6 cs0"],
  });
});

test("an endpoint's count is in a chain of its own, the same object as long as the endpoint is", () => {
  const limited = { interfaceName: "cali1", connectionLimit: { ingress: 7 } } as unknown as LocalEndpoint; // what it reads
  const other = { interfaceName: "cali2" } as unknown as LocalEndpoint;
  const context = { config: { dispatchAtMost: 8 } as RenderConfig, family: 4 } as const; // what it reads
  const [before, after] = [connectionLimits([limited], context), connectionLimits([other, limited], context)];
  expect(before.jumps).toEqual([{ match: [], target: ["-j", "margay-conn-to"] }]);
  expect(after.chains.get("filter/margay-conn-to")?.rules).toEqual([
    { match: ["-o", "cali1"], target: ["-g", "margay-cl-cali1"] },
  ]);
  expect(after.chains.get("filter/margay-cl-cali1")).toBe(before.chains.get("filter/margay-cl-cali1"));
});
