import { expect, test } from "@jest/globals";
import { unsharedScript } from "./testing/unshared.ts";

const FLOWS = 12; // of both families together
const [POD, NODE] = [
  ["10.244.0.1", "fd00::1"],
  ["192.0.2.1", "fd00:2::1"],
];
/** The setting is one IPv4 address; IPv6 has the node's. */
const FIXED = ["192.0.2.77", "fd00:2::1"];

test.each(["nftables", "nft", "legacy"])(
  "NAT of what leaves the pools, as the far end sees it: %s",
  (backend) => {
    const as = (sources: unknown, isInRange = false) => ({ flows: FLOWS, sources, isInRange });
    expect(unsharedScript("nat-kernel.ts", backend)).toEqual({
      "to outside": as(NODE),
      "to a pool": as(POD),
      "to a node": as(NODE),
      "to a node, where nodes are excluded": as(POD),
      "out of another interface": as(POD),
      "from a range of ports": as(NODE, true),
      "from a fixed address": as(FIXED),
      "from a fixed address and a range": as(FIXED, true),
    });
  },
);
