import { expect, test } from "@jest/globals";
import { parseAddress } from "@margay/net";
import { summarise, whoHas } from "./audit.ts";
import type { Block } from "./block.ts";
import { audit } from "./invariants.ts";
import { parsePools } from "./pools.ts";

const pools = parsePools([
  {
    apiVersion: "margay.dev/v1",
    kind: "IPPool",
    metadata: { name: "p" },
    spec: {
      ...{ cidr: "10.0.0.0/24", blockSize: 30, ipipMode: "Never", vxlanMode: "Never", natOutgoing: false },
      ...{ disabled: false, disableBGPExport: false, nodeSelector: "all()", allowedUses: ["Workload"] },
      assignmentMode: "Automatic",
    },
  },
]);

const block = (cidr: string, node: string | undefined, allocations: Block["allocations"] = {}): Block => ({
  ...{ cidr, affinityClaimTime: "2026-11-22T11:00:00.000Z", sequenceNumber: 7, unallocated: [] },
  ...(node && { affinity: `host:${node}` }),
  allocations,
});
const used = (handle: string, node: string) => ({ handle, sequence: 7, attributes: { node } });

const BLOCKS = [
  block("10.0.0.100/30", "n2", { 1: used("c", "n2") }),
  block("10.0.0.8/30", "n1", { 0: used("a", "n1"), 1: used("b", "n2") }),
  block("192.168.0.0/30", "n1"),
  block("10.0.0.40/30", undefined, { 0: used("d", "n3") }),
];

const borrowed = {
  ...{ address: "10.0.0.9", block: "10.0.0.8/30", handle: "b", sequence: 7, attributes: { node: "n2" } },
  borrowedFrom: "n1",
};

test("summarise: totals per pool, blocks in address order, what is borrowed, what lies outside", () => {
  expect(summarise(pools, BLOCKS)).toEqual({
    pools: [
      {
        ...{ name: "p", cidr: "10.0.0.0/24", blockSize: 30, total: 256n, inUse: 4, free: 252n },
        blocks: [
          { cidr: "10.0.0.8/30", node: "n1", size: 4, inUse: 2 },
          { cidr: "10.0.0.40/30", size: 4, inUse: 1 },
          { cidr: "10.0.0.100/30", node: "n2", size: 4, inUse: 1 },
        ],
        borrowed: [
          borrowed,
          {
            ...{
              address: "10.0.0.40",
              block: "10.0.0.40/30",
              handle: "d",
              sequence: 7,
              attributes: { node: "n3" },
            },
            borrowedFrom: "no node",
          },
        ],
      },
    ],
    outside: [{ cidr: "192.168.0.0/30", node: "n1", size: 4, inUse: 0 }],
  });
});

test.each([
  ["10.0.0.9", borrowed],
  ["10.0.0.10", undefined],
  ["10.9.9.9", undefined],
])("whoHas %s", (address, who) => {
  expect(whoHas(BLOCKS, parseAddress(address))).toEqual(who);
});

test("audit: each invariant that is broken is found once", () => {
  const affinity = (node: string, cidr: string, state: "pending" | "confirmed") => ({
    ...{ node, cidr, state },
    type: "host" as const,
  });
  const affinities = [
    affinity("n1", "10.0.0.8/30", "confirmed"),
    affinity("n2", "10.0.0.100/30", "pending"),
    affinity("n3", "10.0.0.8/30", "confirmed"),
  ];
  const broken = {
    ...block("10.0.0.64/29", undefined, { 9: { ...used("a", "n2"), sequence: 8 } }),
    unallocated: [1, 1, 9],
  };
  const bridges = { ...used("e", "n2"), attributes: { node: "n2", plugin: "bridge" } }; // no endpoint, and no leak
  const blocks = [
    ...BLOCKS,
    broken,
    block("10.0.0.68/30", undefined),
    block("10.0.0.80/30", undefined, { 1: bridges }),
  ];
  const names = (address: string) => (address === "10.0.0.9" ? ["one", "other"] : [`pod-${address}`]);
  const endpoints = new Map(
    ["10.0.0.8", "10.0.0.9", "10.0.0.40", "10.0.0.73", "10.0.0.77", "203.0.113.1"].map((a) => [a, names(a)]),
  );
  const nodes = new Set(["n1", "n2"]);
  const twin = { ...pools[0]!, name: "q" }; // one pool above
  const found = audit({ pools: [...pools, twin], blocks, affinities, endpoints, nodes, podCidrs: [] });
  expect(found.map(({ code, ...facts }) => `${code}: ${Object.values(facts).slice(0, 2).join(" ")}`)).toEqual(
    [
      "pools-overlap: p q",
      "blocks-overlap: 10.0.0.64/29 10.0.0.68/30",
      "block-outside-pools: 192.168.0.0/30 0",
      "block-of-other-size: 10.0.0.64/29 p",
      "block-inconsistent: 10.0.0.64/29 an ordinal is beyond its end",
      "block-inconsistent: 10.0.0.64/29 an ordinal is free twice",
      "block-inconsistent: 10.0.0.64/29 an ordinal is free and in use",
      "block-inconsistent: 10.0.0.64/29 an allocation is newer than the block",
      "affinity-unsettled: 10.0.0.100/30 n2",
      "affinity-without-block: 10.0.0.8/30 n3",
      "block-without-affinity: 192.168.0.0/30 n1",
      "node-gone: n3 0",
      "leaked: 10.0.0.101 10.0.0.100/30",
      "held-twice: a 10.0.0.8,10.0.0.73",
      "used-twice: 10.0.0.9 one,other",
      "unallocated-in-use: 10.0.0.77 pod-10.0.0.77",
    ],
  );
});
