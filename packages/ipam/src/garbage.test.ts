import { describe, expect, test } from "@jest/globals";
import { formatAddress } from "@margay/net";
import fc from "fast-check";
import type { Attributes, Block } from "./block.ts";
import { type Evidence, garbage } from "./garbage.ts";

const NETNS = { netns: "/run/netns/cni-1", netnsInode: "4026532291" };

function block(cidr: string, allocations: Record<number, [handle: string, attributes: Attributes]>): Block {
  const given = Object.entries(allocations).map(([ordinal, [handle, attributes]]) => [
    ordinal,
    { handle, sequence: 100 + Number(ordinal), attributes },
  ]);
  return {
    ...{ cidr, affinity: "host:n1", affinityClaimTime: "2026-11-22T11:00:00.000Z", sequenceNumber: 7 },
    ...{ unallocated: [], allocations: Object.fromEntries(given) },
  };
}

const on = (node: string, containerID: string, more: Attributes = {}): Attributes => ({
  node,
  containerID,
  ...more,
});

const BLOCKS = [
  block("10.0.0.0/30", {
    0: ["a", on("n1", "ca")],
    1: ["b", on("n1", "cb", NETNS)],
    2: ["c", on("n2", "cc")],
    3: ["tunnel", { node: "n1", type: "vxlanTunnelAddress" }],
  }),
  block("fd00::/126", { 0: ["a", on("n1", "ca")], 1: ["c", on("n2", "cc")] }),
];

/** "handle reason addresses" of each. */
const found = (evidence: Evidence, blocks = BLOCKS) =>
  garbage(blocks, evidence).map(
    ({ handle, reason, addresses }) =>
      `${handle} ${reason} ${addresses.map((one) => `${formatAddress(one.address)}#${one.sequence}`).join(" ")}`,
  );

describe("what is proved", () => {
  test.each<[why: string, Evidence, string[]]>([
    ["nothing is known: nothing is freed", {}, []],
    ["no endpoint is no proof: another plugin's pods have none", { endpoints: new Map() }, []],
    [
      "the runtime does not have the container: both families at once",
      { goneContainers: new Set(["ca"]) },
      ["a container-gone 10.0.0.0#100 fd00::#100"],
    ],
    [
      "one of its addresses is a live endpoint's: neither goes",
      { goneContainers: new Set(["ca"]), endpoints: new Map([["fd00::", "ca"]]) },
      [],
    ],
    [
      "an endpoint of another container does not save it",
      { goneContainers: new Set(["ca"]), endpoints: new Map([["fd00::", "other"]]) },
      ["a container-gone 10.0.0.0#100 fd00::#100"],
    ],
    [
      "its namespace's path names another by now",
      { goneNamespaces: new Set(["n1 /run/netns/cni-1 4026532291"]) },
      ["b namespace-gone 10.0.0.1#101"],
    ],
    [
      "a namespace of the same path, but not that one",
      { goneNamespaces: new Set(["n1 /run/netns/cni-1 4026539999"]) },
      [],
    ],
    [
      "the endpoint's interface has vanished, whatever the endpoint says",
      { goneInterfaces: new Map([["10.0.0.1", "cb"]]), endpoints: new Map([["10.0.0.1", "cb"]]) },
      ["b interface-gone 10.0.0.1#101"],
    ],
    [
      "the interface of one family only, or of the container before: nothing goes",
      {
        goneInterfaces: new Map([
          ["10.0.0.0", "ca"],
          ["10.0.0.1", "old"],
        ]),
      },
      [],
    ],
    [
      "the node was deleted: all on it, tunnels too, endpoints or not",
      { goneNodes: new Set(["n1"]), endpoints: new Map([["10.0.0.0", "ca"]]) },
      [
        "a node-deleted 10.0.0.0#100 fd00::#100",
        "b node-deleted 10.0.0.1#101",
        "tunnel node-deleted 10.0.0.3#103",
      ],
    ],
  ])("%s", (_why, evidence, expected) => {
    expect(found(evidence)).toEqual(expected);
  });
});

test("all or none, whatever the blocks and the evidence; and the order of the blocks does not matter", () => {
  const attributes = fc.record({
    node: fc.constantFrom("n1", "n2"),
    containerID: fc.constantFrom("ca", "cb", "cc"),
  });
  const allocation = fc.tuple(fc.constantFrom("a", "b", "c"), attributes);
  const four = fc.record({ 0: allocation, 1: allocation, 2: allocation });
  const some = (...ids: string[]) => fc.subarray(ids).map((list) => new Set(list));
  const evidence = fc.record({
    goneNodes: some("n1", "n2"),
    goneContainers: some("ca", "cb", "cc"),
    endpoints: fc
      .subarray(["10.0.0.0", "10.0.0.1", "fd00::", "fd00::2"])
      .map((list) => new Map(list.map((address) => [address, undefined]))),
  });
  fc.assert(
    fc.property(four, four, evidence, (one, two, known) => {
      const blocks = [block("10.0.0.0/30", one), block("fd00::/126", two)];
      const freed = garbage(blocks, known);
      const of = (handle: string) =>
        [...Object.values(one), ...Object.values(two)].filter(([h]) => h === handle);
      for (const { handle, addresses } of freed) {
        expect(addresses).toHaveLength(of(handle).length);
        for (const [, { node, containerID }] of of(handle))
          expect(known.goneNodes.has(node!) || known.goneContainers.has(containerID!)).toBe(true); // always drawn
      }
      expect(garbage(blocks.toReversed(), known).map(({ handle }) => handle)).toEqual(
        freed.map(({ handle }) => handle),
      );
    }),
  );
});
