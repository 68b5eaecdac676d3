import { expect, test } from "@jest/globals";
import { unsharedScript } from "./testing/unshared.ts";

const [NODE, OWN] = [
  ["192.0.2.1", "fd00:2::1"],
  ["198.51.100.7", "fd00:51::7"],
];

test.each(["nftables", "nft", "legacy"])("floating addresses, with real packets: %s", (backend) => {
  const neither = { reached: [], sourcesOfA: NODE, sourcesOfB: NODE };
  expect(unsharedScript("floating-kernel.ts", backend)).toEqual({
    "nobody has it": neither,
    "a has it": {
      // From outside, another pod, the node, and a itself, which must see the answers come from where it sent to.
      reached: ["far4", "far6", "b4", "b6", "node4", "node6", "a4", "a6"],
      sourcesOfA: OWN,
      sourcesOfB: NODE,
    },
    // A node always reaches its own pods, and a pod itself.
    "a has it, and lets nobody in": {
      reached: ["node4", "node6", "a4", "a6"],
      sourcesOfA: OWN,
      sourcesOfB: NODE,
    },
    "a has it, but they are switched off": neither,
  });
});
