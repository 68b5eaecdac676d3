import { expect, test } from "@jest/globals";
import { parseAddress } from "@margay/net";
import { audit, summarise, whoHas } from "./audit.ts";
import type { Block } from "./block.ts";
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
        ...{ name: "p", cidr: "10.0.0.0/24", total: 256n, inUse: 4, free: 252n },
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

test("audit: each disagreement between blocks, affinities and endpoints is found once", () => {
  const affinity = (node: string, cidr: string, state: "pending" | "confirmed") => ({
    node,
    cidr,
    state,
    type: "host" as const,
  });
  const affinities = [
    affinity("n1", "10.0.0.8/30", "confirmed"),
    affinity("n2", "10.0.0.100/30", "pending"),
    affinity("n3", "10.0.0.8/30", "confirmed"),
  ];
  const endpoints = new Map(["10.0.0.8", "10.0.0.9", "10.0.0.40", "10.0.0.77"].map((a) => [a, `pod-${a}`]));
  expect(
    audit({ pools, blocks: BLOCKS, affinities, endpoints }).map(({ code, ...facts }) => [
      code,
      Object.values(facts)[0],
    ]),
  ).toEqual([
    ["block-outside-pools", "192.168.0.0/30"],
    ["affinity-unsettled", "10.0.0.100/30"],
    ["affinity-without-block", "10.0.0.8/30"],
    ["block-without-affinity", "192.168.0.0/30"],
    ["leaked", "10.0.0.101"],
    ["unallocated-in-use", "10.0.0.77"],
  ]);
});
