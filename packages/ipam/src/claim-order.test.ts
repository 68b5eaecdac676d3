import { describe, expect, test } from "@jest/globals";
import { type IPAMConfiguration, type IPPool, parse } from "@margay/api";
import { memoryStore, resources } from "@margay/datastore";
import { formatPrefix, type Prefix, parsePrefix } from "@margay/net";
import fc from "fast-check";
import { claimOrder, indexOf } from "./claim-order.ts";
import { Ipam } from "./ipam.ts";
import { parsePools } from "./pools.ts";

const RESOURCE = { apiVersion: "margay.dev/v1", metadata: { name: "default" } };

function poolOf(cidr: string, blockSize: number) {
  const spec = { cidr, blockSize } as IPPool["spec"]; // the order depends on nothing else
  return parsePools([{ apiVersion: "margay.dev/v1", kind: "IPPool", metadata: { name: "p" }, spec }])[0]!; // one in, one out
}

/** The least list of prefixes that covers these and nothing else: what a router announces for them. */
function aggregates(prefixes: readonly Prefix[]): string[] {
  const left = new Set(prefixes.map(formatPrefix));
  for (let length = 128; length > 0; length--) {
    for (const text of [...left].filter((one) => one.endsWith(`/${length}`))) {
      const { family, bits } = parsePrefix(text);
      const size = 1n << BigInt((family === 4 ? 32 : 128) - length);
      const buddy = formatPrefix({ family, bits: bits ^ size, length });
      if (!left.has(text) || !left.has(buddy)) continue;
      left.delete(text);
      left.delete(buddy);
      left.add(formatPrefix({ family, bits: bits & ~size, length: length - 1 }));
    }
  }
  return [...left];
}

test("aggregates, by hand", () => {
  const of = (...cidrs: string[]) => aggregates(cidrs.map((text) => parsePrefix(text))).toSorted();
  expect(of("10.0.0.0/26", "10.0.0.64/26", "10.0.0.128/26", "10.0.0.192/26")).toEqual(["10.0.0.0/24"]);
  expect(of("10.0.0.64/26", "10.0.0.128/26")).toEqual(["10.0.0.128/26", "10.0.0.64/26"]);
});

const pool = poolOf("10.244.0.0/16", 26);
const rackOf = (node: string): string => `rack-${Number(node.slice(1)) % 5}`;
const NODES = Array.from({ length: 100 }, (_, i) => `n${i}`);
const RACKS = new Map(NODES.map((node) => [node, rackOf(node)]));

/** Each of `nodes` claims a block, in this order, as the datastore would let it. */
function claimAll(
  nodes: readonly string[],
  racks: ReadonlyMap<string, string> = RACKS,
): Map<string, Prefix[]> {
  const owners = new Map<bigint, string>();
  const blocks = new Map<string, Prefix[]>();
  for (const node of nodes) {
    const order = claimOrder(pool, { node, racks, owners, reserved: [] });
    const block = order.find((cidr) => !owners.has(indexOf(pool, cidr)))!; // the pool is not full
    owners.set(indexOf(pool, block), node);
    blocks.set(node, [...(blocks.get(node) ?? []), block]);
  }
  return blocks;
}

const blockOf = (index: bigint): Prefix => ({
  ...{ family: 4, length: 26 },
  bits: pool.cidr.bits + index * 64n,
});

/** The fewest aggregates that so many blocks can be. */
const ones = (n: number): number => n.toString(2).replaceAll("0", "").length;

const aggregatesOf = (rack: string, blocks: ReadonlyMap<string, Prefix[]>): string[] =>
  aggregates([...blocks].filter(([node]) => RACKS.get(node) === rack).flatMap(([, list]) => list));

const shuffled = fc.shuffledSubarray(NODES, { minLength: NODES.length });

describe("100 nodes in 5 racks", () => {
  test("one block each, in whatever order they boot: at most 3 aggregates a rack, always the same", () => {
    const first = claimAll(NODES);
    fc.assert(
      fc.property(shuffled, (nodes) => {
        const blocks = claimAll(nodes);
        for (const rack of new Set(RACKS.values()))
          expect(aggregatesOf(rack, blocks).length).toBeLessThanOrEqual(3);
        expect(blocks.get("n42")).toEqual(first.get("n42")); // its place does not depend on who was first
      }),
      { numRuns: 25 },
    );
  });

  test("three blocks each, all claims mixed: 60 blocks a rack in 32 + 16 + 8 + 4, the fewest there can be", () => {
    const order = fc.tuple(shuffled, shuffled, shuffled).map((rounds) => rounds.flat());
    fc.assert(
      fc.property(order, (nodes) => {
        const blocks = claimAll(nodes);
        for (const rack of new Set(RACKS.values())) expect(aggregatesOf(rack, blocks)).toHaveLength(4);
      }),
      { numRuns: 25 },
    );
  });

  test.each([
    ["n0 to n99 in order, each known from its own claim on", fc.constant(NODES), fc.constant(0)],
    ["in whatever order, some known long before they claim", shuffled, fc.nat({ max: 40 })],
  ])(
    "joining one by one, %s: at most 3 aggregates a rack, and never more than its number of blocks needs",
    (_how, order, ahead) => {
      fc.assert(
        fc.property(order, ahead, (nodes, early) => {
          const owners = new Map<bigint, string>();
          for (const [i, node] of nodes.entries()) {
            const racks = new Map(nodes.slice(0, i + 1 + early).map((one) => [one, rackOf(one)]));
            const block = claimOrder(pool, { node, racks, owners, reserved: [] }).find(
              (cidr) => !owners.has(indexOf(pool, cidr)),
            )!; // the pool is not full
            owners.set(indexOf(pool, block), node);
            if (early > 0) continue;
            const mine = [...owners].filter(([, by]) => rackOf(by) === rackOf(node)).map(([index]) => index);
            expect(aggregates(mine.map(blockOf)).length).toBe(ones(mine.length));
          }
          for (const rack of new Set(RACKS.values())) {
            const mine = [...owners].filter(([, by]) => rackOf(by) === rack).map(([index]) => blockOf(index));
            expect(aggregates(mine).length).toBeLessThanOrEqual(3);
          }
        }),
        { numRuns: 25 },
      );
    },
  );

  test("by the allocator itself, each node with its own view: what is confirmed is at most 3 aggregates a rack", async () => {
    const store = memoryStore();
    const known = new Map<string, string>();
    const pools = [
      parse({ ...RESOURCE, kind: "IPPool", spec: { cidr: "10.244.0.0/16", blockSize: 26 } }).resource,
    ];
    const config = parse({ ...RESOURCE, kind: "IPAMConfiguration", spec: {} }).resource;
    for (const node of NODES) {
      known.set(node, rackOf(node));
      const ipam = new Ipam({
        ...{ store, node, now: () => new Date(0), labels: () => ({}), racks: () => known },
        pools: () => pools as IPPool[], // just parsed as such
        config: () => (config as IPAMConfiguration).spec, // likewise
      });
      await ipam.assign({ handle: node, families: [4], attributes: { node } });
    }
    const affinities = await resources(store, "BlockAffinity").list();
    const blocks = new Map(affinities.map(({ spec: { node, cidr } }) => [node, [parsePrefix(cidr)]]));
    expect(affinities.every(({ spec }) => spec.state === "confirmed") && blocks.size).toBe(100);
    for (const rack of new Set(RACKS.values()))
      expect(aggregatesOf(rack, blocks).length).toBeLessThanOrEqual(3);
  });

  test("where a rack's ground is full, its buddy is next: the two are one aggregate", () => {
    const racks = new Map([...NODES.slice(0, 4)].map((node) => [node, "rack"]));
    const small = poolOf("10.244.0.0/22", 26); // sixteen blocks, four grounds
    const owners = new Map([12n, 13n, 14n, 15n].map((index) => [index, "n0"]));
    const [next] = claimOrder(small, { node: "n0", racks, owners, reserved: [] }).filter(
      (cidr) => !owners.has(indexOf(small, cidr)),
    );
    expect(next && indexOf(small, next)).toBe(8n);
  });

  test("without labels they are scattered, as before", () => {
    const blocks = claimAll(NODES, new Map());
    expect(aggregatesOf("rack-1", blocks).length).toBeGreaterThan(10);
  });

  test("all at once, nobody seeing another's claim: no two try the same block first", () => {
    const firsts = NODES.map((node) => {
      const [block] = claimOrder(pool, { node, racks: RACKS, owners: new Map(), reserved: [] });
      return formatPrefix(block!); // the pool has blocks
    });
    expect(new Set(firsts).size).toBe(100);
  });
});

describe("every free block is tried", () => {
  const racks = fc.constantFrom(
    new Map<string, string>(),
    new Map([
      ["n1", "a"],
      ["n2", "b"],
      ["n3", "c"],
    ]),
  );
  test("whatever is claimed or reserved, and never one that is wholly reserved", () => {
    const small = poolOf("10.0.0.0/27", 30);
    const all = Array.from({ length: 8 }, (_, i) => `10.0.0.${i * 4}/30`);
    const reservation = fc.constantFrom(
      "10.0.0.0/28",
      "10.0.0.20/30",
      "10.0.0.16/28",
      "10.0.0.8/29",
      "10.0.0.24/31",
    );
    fc.assert(
      fc.property(racks, fc.array(reservation), fc.subarray(["n1", "n2", "n3"]), (racks, texts, taken) => {
        const reserved = texts.map((text) => parsePrefix(text));
        const owners = new Map(taken.map((node, i) => [BigInt(i * 2), node]));
        const tried = new Set(
          [...claimOrder(small, { node: "n1", racks, reserved, owners })].map(formatPrefix),
        );
        const covered = (cidr: string) => texts.some((text) => holds(text, cidr));
        expect([...tried].toSorted()).toEqual(all.filter((cidr) => !covered(cidr)).toSorted());
      }),
    );
  });
});

/** By text, independent of the code under test: these prefixes differ in the last byte only. */
function holds(outer: string, inner: string): boolean {
  const parse = (text: string) =>
    [Number(text.split(".")[3]?.split("/")[0]), Number(text.split("/")[1])] as const;
  const [[from, length], [at, other]] = [parse(outer), parse(inner)];
  return other >= length && at >= from && at < from + 2 ** (32 - length);
}
