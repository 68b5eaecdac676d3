import { describe, expect, test } from "@jest/globals";
import { encode, type IPPool } from "@margay/api";
import { type Family, formatAddress, parseAddress, parsePrefix } from "@margay/net";
import type { Block } from "./block.ts";
import { type Operation, plan } from "./plan.ts";
import { parsePools } from "./pools.ts";
import { BlockCache, blockKey } from "./view.ts";
import type { World } from "./world.ts";

const NOON = new Date("2026-11-22T12:00:00.000Z");

const pool = (name: string, cidr: string, spec: Partial<IPPool["spec"]> = {}): IPPool => ({
  apiVersion: "margay.dev/v1",
  kind: "IPPool",
  metadata: { name },
  spec: {
    ...{
      cidr,
      ipipMode: "Never",
      vxlanMode: "Never",
      natOutgoing: false,
      disabled: false,
      disableBGPExport: false,
    },
    ...{ nodeSelector: "all()", allowedUses: ["Workload", "Tunnel"], assignmentMode: "Automatic", ...spec },
  },
});

/** `owner: "n1"`, and ordinal -> handle; a handle "x@n2" belongs to node n2. */
function block(cidr: string, node: string | undefined, taken: Record<number, string> = {}): Block {
  const allocations = Object.entries(taken).map(([n, handle]) => [
    n,
    {
      handle: handle.split("@")[0]!,
      sequence: 7,
      attributes: { node: handle.split("@")[1] ?? node ?? "n9" },
    }, // split gives one part at least
  ]);
  return {
    ...{ cidr, affinityClaimTime: "2026-11-22T11:00:00.000Z", sequenceNumber: 7, unallocated: [] },
    ...(node && { affinity: `host:${node}` }),
    allocations: Object.fromEntries(allocations),
  };
}

interface Scene {
  pools?: IPPool[];
  blocks?: Block[];
  limits?: Partial<World["limits"]>;
  labels?: Record<string, string>;
  /** Labels of namespaces. */
  namespaces?: Record<string, Record<string, string>>;
  reserved?: string[];
  hostReserved?: World["hostReserved"];
  racks?: Record<string, string>;
  /** CIDRs of blocks that have been read whole. */
  read?: string[];
}

function world({
  pools = [pool("p", "10.0.0.0/28", { blockSize: 30 })],
  blocks = [],
  ...rest
}: Scene): World {
  const view = new BlockCache({ node: "n1" });
  const metadata = (cidr: string) => ({ name: cidr.replace("/", "-") });
  blocks.forEach((spec, i) => {
    const value = encode({
      apiVersion: "margay.dev/v1",
      kind: "IPAMBlock",
      metadata: metadata(spec.cidr),
      spec,
    });
    view.observe({ key: blockKey(spec.cidr), value, revision: i + 1 });
  });
  const read = (cidr: string) =>
    [cidr, { value: blocks.find((b) => b.cidr === cidr)!, revision: 99 }] as const; // a scene reads what it has
  return {
    ...{ node: "n1", now: NOON, view, labels: rest.labels ?? {}, pools: parsePools(pools) },
    limits: {
      ...{ strictAffinity: false, autoAllocateBlocks: true, maxBlocksPerHost: 0, cooldownSeconds: 0 },
      ...rest.limits,
    },
    namespaceLabels: (name) => rest.namespaces?.[name] ?? {},
    reserved: (rest.reserved ?? []).map((text) => parsePrefix(text)),
    hostReserved: rest.hostReserved ?? { first: 0, last: 0 },
    racks: new Map(Object.entries(rest.racks ?? {})),
    reads: new Map((rest.read ?? []).map(read)),
  };
}

const assign = (handle: string, extra: object = {}): Operation => ({
  ...{ kind: "assign", handle, families: [4] as Family[], attributes: { node: "n1" } },
  ...extra,
});

/** The answer in one line: the addresses, "read CIDR" or the error's message. */
function answer(scene: Scene, ...operations: Operation[]): string[] {
  return plan(world(scene), operations).answers.map((a) => {
    if (a.kind === "read") return `read ${a.cidr}`;
    return a.kind === "failed"
      ? a.error.message
      : (a.kind === "done" ? a.held : []).map(({ address }) => formatAddress(address)).join(" ");
  });
}

const FULL = { 0: "a", 1: "b", 2: "c", 3: "d" };
const everyBlock = (node: string) =>
  ["0", "4", "8", "12"].map((last) => block(`10.0.0.${last}/30`, node, FULL));

describe("where an address comes from", () => {
  test.each<[why: string, Scene, Operation[], string[]]>([
    [
      "own block with room first",
      { blocks: [block("10.0.0.4/30", "n1", { 0: "a" })] },
      [assign("h")],
      ["10.0.0.5"],
    ],
    [
      "the same handle gets the same address",
      { blocks: [block("10.0.0.4/30", "n1", { 2: "h" })] },
      [assign("h")],
      ["10.0.0.6"],
    ],
    [
      "also twice in one batch",
      { blocks: [block("10.0.0.4/30", "n1")] },
      [assign("h"), assign("h")],
      ["10.0.0.4", "10.0.0.4"],
    ],
    [
      "own block full: a new one",
      { pools: [pool("p", "10.0.0.0/29", { blockSize: 30 })], blocks: [block("10.0.0.4/30", "n1", FULL)] },
      [assign("h")],
      ["10.0.0.0"],
    ],
    [
      "another's block is not taken while a new one can be had",
      { pools: [pool("p", "10.0.0.0/29", { blockSize: 30 })], blocks: [block("10.0.0.4/30", "n2")] },
      [assign("h")],
      ["10.0.0.0"],
    ],
    [
      "no block left: borrow, after reading the lender",
      { blocks: [...everyBlock("n1").slice(1), block("10.0.0.0/30", "n2", { 0: "x" })] },
      [assign("h")],
      ["read 10.0.0.0/30"],
    ],
    [
      "the lender read gives",
      {
        blocks: [...everyBlock("n1").slice(1), block("10.0.0.0/30", "n2", { 0: "x" })],
        read: ["10.0.0.0/30"],
      },
      [assign("h")],
      ["10.0.0.1"],
    ],
    [
      "a borrowed address is found again by its handle",
      { blocks: [block("10.0.0.0/30", "n2", { 3: "h@n1" })] },
      [assign("h")],
      ["10.0.0.3"],
    ],
    [
      "a block of another size in the pool is not overlapped",
      { pools: [pool("p", "10.0.0.0/29", { blockSize: 30 })], blocks: [block("10.0.0.4/31", "n2")] },
      [assign("h")],
      ["10.0.0.0"],
    ],
    [
      "one release and one assignment of a batch share the block",
      { blocks: [block("10.0.0.4/30", "n1", FULL)] },
      [{ kind: "release", handle: "b", reason: "cni-del" }, assign("h")],
      ["10.0.0.5", "10.0.0.5"],
    ],
  ])("%s", (_why, scene, operations, expected) => {
    expect(answer(scene, ...operations)).toEqual(expected);
  });

  test("100 pods in one batch need two writes: two /26 blocks", () => {
    const pods = Array.from({ length: 100 }, (_, i) => assign(`pod-${i}`));
    const { answers, changes } = plan(world({ pools: [pool("p", "10.244.0.0/16")] }), pods);
    expect(changes.map(({ after }) => Object.keys(after!.allocations).length)).toEqual([64, 36]); // created, not deleted
    expect(answers.filter(({ kind }) => kind === "done")).toHaveLength(100);
  });
});

describe("pools", () => {
  const two = (a: Partial<IPPool["spec"]>) => [
    pool("a", "10.1.0.0/28", { blockSize: 28, ...a }),
    pool("b", "10.2.0.0/28", { blockSize: 28 }),
  ];
  test.each<[why: string, Scene, Operation, string]>([
    ["disabled gives nothing", { pools: two({ disabled: true }) }, assign("h"), "10.2.0.0"],
    [
      "disabled gives nothing, not even from a block the node has",
      { pools: two({ disabled: true }), blocks: [block("10.1.0.0/28", "n1")] },
      assign("h"),
      "10.2.0.0",
    ],
    [
      "disabled and asked for by name",
      { pools: two({ disabled: true }) },
      assign("h", { pools: { 4: ["a"] } }),
      "ipam: pool a is disabled",
    ],
    ["Manual only when asked for", { pools: two({ assignmentMode: "Manual" }) }, assign("h"), "10.2.0.0"],
    [
      "Manual when asked for",
      { pools: two({ assignmentMode: "Manual" }) },
      assign("h", { pools: { 4: ["a"] } }),
      "10.1.0.0",
    ],
    ["asked for by CIDR", { pools: two({}) }, assign("h", { pools: { 4: ["10.2.0.0/28"] } }), "10.2.0.0"],
    [
      "nodeSelector matches",
      { pools: two({ nodeSelector: "rack == '7'" }), labels: { rack: "7" } },
      assign("h"),
      "10.1.0.0",
    ],
    [
      "nodeSelector does not match",
      { pools: two({ nodeSelector: "rack == '7'" }), labels: { rack: "8" } },
      assign("h"),
      "10.2.0.0",
    ],
    [
      "nodeSelector does not count for a named pool",
      { pools: two({ nodeSelector: "rack == '7'" }) },
      assign("h", { pools: { 4: ["a"] } }),
      "10.1.0.0",
    ],
    ["a tunnel pool is not for pods", { pools: two({ allowedUses: ["Tunnel"] }) }, assign("h"), "10.2.0.0"],
    ["unknown name", { pools: two({}) }, assign("h", { pools: { 4: ["c"] } }), "ipam: pool c does not exist"],
    [
      "no pool of the family",
      { pools: two({}) },
      assign("h", { families: [6] }),
      "ipam: no enabled IPv6 pool gives Workload addresses on node n1 (see IPPool disabled, nodeSelector, namespaceSelector, assignmentMode, allowedUses)",
    ],
  ])("%s", (_why, scene, operation, expected) => {
    expect(answer(scene, operation)).toEqual([expected]);
  });
});

describe("pools by namespace and use", () => {
  const shop = { attributes: { node: "n1", namespace: "shop" } };
  const pools = [
    pool("a", "10.1.0.0/28", { blockSize: 28, namespaceSelector: "team == 'shop'" }),
    pool("b", "10.2.0.0/28", { blockSize: 28 }),
    pool("lb", "10.3.0.0/28", { blockSize: 28, allowedUses: ["LoadBalancer"] }),
    pool("tunnel", "10.4.0.0/28", { blockSize: 28, allowedUses: ["Tunnel"], nodeSelector: "has(gpu)" }),
  ];
  const named = { namespaces: { shop: { team: "shop" }, bar: { team: "bar" } } };
  test.each<[why: string, Scene, Operation, string]>([
    ["its namespace has the label", named, assign("h", shop), "10.1.0.0"],
    [
      "its namespace has another",
      named,
      assign("h", { attributes: { node: "n1", namespace: "bar" } }),
      "10.2.0.0",
    ],
    ["a namespace nobody knows", {}, assign("h", shop), "10.2.0.0"],
    ["no pod: a tunnel's address", named, assign("h"), "10.2.0.0"],
    [
      "asked for by name: the namespace does not count",
      {},
      assign("h", { ...shop, pools: { 4: ["a"] } }),
      "10.1.0.0",
    ],
    ["a load balancer's", named, assign("h", { use: "LoadBalancer" }), "10.3.0.0"],
    [
      "a tunnel's, where a Tunnel pool selects the node",
      { labels: { gpu: "" } },
      assign("h", { use: "Tunnel", pools: { 4: ["tunnel"] } }),
      "10.4.0.0",
    ],
    [
      "a pool for load balancers is not for pods, even by name",
      named,
      assign("h", { pools: { 4: ["lb"] } }),
      "ipam: no enabled IPv4 pool gives Workload addresses on node n1 (see IPPool disabled, nodeSelector, namespaceSelector, assignmentMode, allowedUses)",
    ],
  ])("%s", (_why, scene, operation, expected) => {
    expect(answer({ pools, ...scene }, operation)).toEqual([expected]);
  });
});

describe("pools over the same ground whose blocks have another size", () => {
  const p = pool("p", "10.0.0.0/28", { blockSize: 30 });
  const q = (cidr: string, spec: object = {}) => pool("q", cidr, { blockSize: 29, ...spec });
  const ask = assign("h", { addresses: [parseAddress("10.0.0.9")] });
  const REFUSED =
    "ipam: pool p overlaps pool q, whose blocks have another size: no new block is given of what both have; delete or disable one of them (margay ipam check)";
  const RIVAL =
    "pool q overlaps, with blocks of another size: no new block is given of what both have (margay ipam check)";
  const half = q("10.0.0.0/29", { nodeSelector: "none == 'here'" });
  const theirs = (taken: Record<number, string>) => [
    block("10.0.0.8/30", "n2", taken),
    block("10.0.0.12/30", "n2", FULL),
  ];
  test.each<[why: string, Scene, Operation, string]>([
    [
      "all of it: none is given",
      { pools: [p, q("10.0.0.0/28")] },
      assign("h"),
      REFUSED.replace("p o", "p, q o"),
    ],
    ["... nor asked for", { pools: [p, q("10.0.0.0/28")] }, ask, REFUSED],
    [
      "a block that is there is one key for both",
      { pools: [p, q("10.0.0.0/28")], blocks: [block("10.0.0.8/30", "n1")] },
      ask,
      "10.0.0.9",
    ],
    ["the rest of the larger one is given", { pools: [p, q("10.0.0.0/29")] }, ask, "10.0.0.9"],
    ["... what both have is not, though the pool is in use", { pools: [p, q("10.0.0.8/29")] }, ask, REFUSED],
    [
      "a pool that gives nothing stands in no way",
      { pools: [p, q("10.0.0.0/28", { disabled: true })] },
      ask,
      "10.0.0.9",
    ],
    [
      "blocks of one size are one key: no matter",
      { pools: [p, q("10.0.0.8/29", { blockSize: 30 })] },
      ask,
      "10.0.0.9",
    ],
    [
      "strict, and another's empty block beside it may be taken: no room, and why not",
      { pools: [p, half], blocks: theirs({}), limits: { strictAffinity: true } },
      assign("h"),
      `ipam: pool p has no free block for node n1 (2 of 4 blocks claimed; strictAffinity is on); ${RIVAL}`,
    ],
    [
      "strict, and none is empty",
      { pools: [p, half], blocks: theirs(FULL), limits: { strictAffinity: true } },
      assign("h"),
      REFUSED,
    ],
    [
      "blocks are only made by an operator",
      { pools: [p, half], limits: { autoAllocateBlocks: false } },
      assign("h"),
      `ipam: pool p has no free address for node n1 (0 of 4 blocks claimed; autoAllocateBlocks is off); ${RIVAL}`,
    ],
    [
      "what both have is claimed, too",
      { pools: [p, half], blocks: everyBlock("n2") },
      assign("h"),
      `ipam: pool p has no free address for node n1 (4 of 4 blocks claimed, every address in use); ${RIVAL}`,
    ],
  ])("%s", (_why, scene, operation, expected) => {
    expect(answer(scene, operation)).toEqual([expected]);
  });

  test("no block is claimed of what both have, though it is the first in order", () => {
    const pools = [p, half];
    const pods = Array.from({ length: 9 }, (_, i) => assign(`h${i}`));
    const given = answer({ pools }, ...pods);
    expect(given.slice(0, 8).sort()).toEqual(
      ["10", "11", "12", "13", "14", "15", "8", "9"].map((last) => `10.0.0.${last}`),
    );
    expect(given[8]).toBe(REFUSED);
  });
});

describe("reserved addresses", () => {
  const pods = (n: number) => Array.from({ length: n }, (_, i) => assign(`h${i}`));
  const small = [pool("p", "10.0.0.0/29", { blockSize: 30 })];
  const strict = { strictAffinity: true };
  const full = /^ipam: pool p has no free block/;

  test("are never given: not from a new block, not from a borrowed one", () => {
    const reserved = ["10.0.0.1/32", "10.0.0.4/31"];
    const given = answer({ pools: small, reserved, limits: strict }, ...pods(6));
    expect(given.slice(0, 5).toSorted()).toEqual([
      "10.0.0.0",
      "10.0.0.2",
      "10.0.0.3",
      "10.0.0.6",
      "10.0.0.7",
    ]);
    expect(given[5]).toMatch(full);
    const lent = { pools: small, reserved: ["10.0.0.0/31"], read: ["10.0.0.0/30"] };
    const blocks = [block("10.0.0.0/30", "n2", { 2: "x" }), block("10.0.0.4/30", "n1", FULL)];
    expect(answer({ ...lent, blocks }, assign("h"))).toEqual(["10.0.0.3"]);
  });

  test("a block that is reserved as a whole is not claimed", () => {
    const given = answer({ pools: small, reserved: ["10.0.0.0/30"], limits: strict }, ...pods(5));
    expect(given.slice(0, 4)).toEqual(["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7"]);
    expect(given[4]).toMatch(full);
  });

  test("of a huge pool all but the last block: found at once", () => {
    const pools = [pool("p", "fd00::/56", { blockSize: 122 })];
    const reserved = Array.from({ length: 65 }, (_, i) => {
      const [length, bits] = [57 + i, (0xfd00n << 112n) + ((1n << 72n) - (1n << BigInt(72 - i)))];
      return `${formatAddress({ family: 6, bits })}/${length}`;
    });
    expect(answer({ pools, reserved }, assign("h", { families: [6] }))[0]).toMatch(
      /^fd00::ff:ffff:ffff:ffff:ff[89c]/,
    );
  });

  test("one is given to who asks for it", () => {
    const wanted = { addresses: [parseAddress("10.0.0.1")] };
    expect(answer({ pools: small, reserved: ["10.0.0.0/29"] }, assign("h", wanted))).toEqual(["10.0.0.1"]);
  });

  test("the host's own at both ends of each block; a block too small for them has none", () => {
    const hostReserved = { first: 2, last: 1 };
    expect(answer({ pools: small, hostReserved, limits: strict }, ...pods(2)).toSorted()).toEqual([
      "10.0.0.2",
      "10.0.0.6",
    ]);
    const one = [pool("p", "10.0.0.7/32", { blockSize: 32 })];
    expect(answer({ pools: one, hostReserved }, assign("h"))).toEqual(["10.0.0.7"]);
  });
});

describe("borrowing", () => {
  const strangers = Array.from({ length: 3 }, (_, i) =>
    block(`10.0.0.${i * 4 + 4}/30`, `n${i + 2}`, { 0: "a", 1: "b", 2: "c" }),
  );
  const scene = { blocks: [block("10.0.0.0/30", "n1", FULL), ...strangers] };
  const pods = (n: number) => Array.from({ length: n }, (_, i) => assign(`h${i}`));

  test("what waits together reads each lender once, all at once, and no more than it needs", () => {
    expect(new Set(answer(scene, ...pods(3)))).toEqual(
      new Set(["read 10.0.0.4/30", "read 10.0.0.8/30", "read 10.0.0.12/30"]),
    );
    expect(new Set(answer(scene, ...pods(1))).size).toBe(1);
  });

  test("the second step gives them all", () => {
    const read = strangers.map(({ cidr }) => cidr);
    expect(answer({ ...scene, read }, ...pods(3)).toSorted()).toEqual(["10.0.0.11", "10.0.0.15", "10.0.0.7"]);
  });
});

test("of two own blocks the fuller one gives: the other may drain", () => {
  const blocks = [block("10.0.0.0/30", "n1", { 0: "a" }), block("10.0.0.4/30", "n1", { 0: "b", 1: "c" })];
  expect(answer({ blocks }, assign("h"))).toEqual(["10.0.0.6"]);
});

describe("limits", () => {
  const strict = { strictAffinity: true };
  test.each<[why: string, Scene, string]>([
    [
      "strict: no borrowing",
      { limits: strict, blocks: everyBlock("n2").map((b) => ({ ...b, allocations: {} })) },
      "ipam: pool p has no free block for node n1 (4 of 4 blocks claimed; strictAffinity is on)",
    ],
    [
      "everything full",
      { blocks: everyBlock("n2") },
      "ipam: pool p has no free address for node n1 (4 of 4 blocks claimed, every address in use)",
    ],
    [
      "blocks are only made by an operator",
      { limits: { ...strict, autoAllocateBlocks: false } },
      "ipam: pool p has no free address for node n1 (0 of 4 blocks claimed; autoAllocateBlocks is off)",
    ],
    [
      "maxBlocksPerHost",
      { limits: { ...strict, maxBlocksPerHost: 2 }, blocks: everyBlock("n1").slice(0, 2) },
      "ipam: node n1 has all of the 2 blocks that IPAMConfiguration.maxBlocksPerHost allows, and they are full (pool p)",
    ],
    [
      "maxBlocksPerHost reached, but room in own block",
      { limits: { ...strict, maxBlocksPerHost: 1 }, blocks: [block("10.0.0.8/30", "n1")] },
      "10.0.0.8",
    ],
  ])("%s", (_why, scene, expected) => {
    expect(answer(scene, assign("h"))).toEqual([expected]);
  });

  test("0 is no limit: the 25th small block is given like the first", () => {
    const pools = [pool("p", "10.0.0.0/24", { blockSize: 30 })];
    const blocks = Array.from({ length: 24 }, (_, i) => block(`10.0.0.${i * 4}/30`, "n1", FULL));
    expect(answer({ pools, blocks }, assign("h"))[0]).toMatch(/^10\.0\.0\.(9[6-9]|[12]\d\d)$/);
  });
});

describe("addresses asked for", () => {
  const ask = (address: string, handle = "h") => assign(handle, { addresses: [parseAddress(address)] });
  test.each<[why: string, Scene, Operation, string]>([
    ["in no block yet: the block is claimed", {}, ask("10.0.0.9"), "10.0.0.9"],
    ["in no pool", {}, ask("10.9.0.9"), "ipam: address 10.9.0.9 is in no enabled pool"],
    [
      "in a disabled pool",
      { pools: [pool("p", "10.0.0.0/28", { disabled: true })] },
      ask("10.0.0.9"),
      "ipam: address 10.0.0.9 is in no enabled pool",
    ],
    [
      "in use by another",
      { blocks: [block("10.0.0.8/30", "n1", { 1: "a" })] },
      ask("10.0.0.9"),
      "ipam: address 10.0.0.9 is in use by a",
    ],
    [
      "in use by the same handle: a repeat",
      { blocks: [block("10.0.0.8/30", "n1", { 1: "h" })] },
      ask("10.0.0.9"),
      "10.0.0.9",
    ],
    [
      "by a handle that has another: no second one",
      { blocks: [block("10.0.0.8/30", "n1", { 0: "h" })] },
      ask("10.0.0.9"),
      "ipam: address 10.0.0.9 is asked for by h, which has 10.0.0.8: it gets no second one, and keeps what it has until its DEL",
    ],
    [
      "by a handle that has two, from a version that gave a second: that of them",
      { blocks: [block("10.0.0.8/30", "n1", { 0: "h", 1: "h" })] },
      ask("10.0.0.9"),
      "10.0.0.9",
    ],
    [
      "in another's block: read it first",
      { blocks: [block("10.0.0.8/30", "n2")] },
      ask("10.0.0.9"),
      "read 10.0.0.8/30",
    ],
    [
      "in another's block: borrowed",
      { blocks: [block("10.0.0.8/30", "n2")], read: ["10.0.0.8/30"] },
      ask("10.0.0.9"),
      "10.0.0.9",
    ],
    [
      "in a larger block of the pool as it was before: from that",
      { blocks: [block("10.0.0.8/29", "n1")] },
      ask("10.0.0.9"),
      "10.0.0.9",
    ],
    [
      "in a larger block of the pool as it was before, which has given it",
      { blocks: [block("10.0.0.8/29", "n1", { 1: "a" })] },
      ask("10.0.0.9"),
      "ipam: address 10.0.0.9 is in use by a",
    ],
    [
      "in a larger block of another's: read it first",
      { blocks: [block("10.0.0.0/28", "n2")] },
      ask("10.0.0.9"),
      "read 10.0.0.0/28",
    ],
    [
      "in a smaller block of the pool as it was before, which has given it",
      { blocks: [block("10.0.0.9/32", "n1", { 0: "a" })] },
      ask("10.0.0.9"),
      "ipam: address 10.0.0.9 is in use by a",
    ],
    [
      "in another's block, strict",
      { blocks: [block("10.0.0.8/30", "n2")], read: ["10.0.0.8/30"], limits: { strictAffinity: true } },
      ask("10.0.0.9"),
      "ipam: address 10.0.0.9 is in a block of n2, and strictAffinity is on",
    ],
  ])("%s", (_why, scene, operation, expected) => {
    expect(answer(scene, operation)).toEqual([expected]);
  });
});

test("an address asked for beside smaller blocks of the pool as it was before: a block that overlaps none", () => {
  const before = [block("10.0.0.8/32", "n2", { 0: "a@n2" }), block("10.0.0.12/30", "n2")];
  const ask = assign("h", { addresses: [parseAddress("10.0.0.11")] });
  expect(plan(world({ blocks: before }), [ask]).changes.map(({ cidr }) => cidr)).toEqual(["10.0.0.10/31"]);
});

describe("release together", () => {
  const which = ["10.0.0.4", "10.0.0.5"].map((text) => ({ address: parseAddress(text), sequence: 7 }));
  const both: Operation = { kind: "release-addresses", which, reason: "container-gone", together: true };

  test("both still are what was seen: both are freed, and the journal says why", () => {
    const { changes } = plan(world({ blocks: [block("10.0.0.4/30", "n1", { 0: "h", 1: "h" })] }), [both]);
    expect(changes[0]?.after).toMatchObject({
      allocations: {},
      released: [
        { ordinal: 0, reason: "container-gone" },
        { ordinal: 1, reason: "container-gone" },
      ],
    });
  });

  test("one has gone: neither is freed", () => {
    const { changes } = plan(world({ blocks: [block("10.0.0.4/30", "n1", { 0: "h" })] }), [both]);
    expect(changes).toEqual([]);
  });

  test("a block without owner stays while an address in it cools down", () => {
    const scene = {
      blocks: [block("10.0.0.4/30", undefined, { 0: "h@n1" })],
      limits: { cooldownSeconds: 60 },
    };
    const { changes } = plan(world(scene), [{ kind: "release", handle: "h", reason: "cni-del" }]);
    expect(changes[0]?.after).toMatchObject({ allocations: {}, unallocated: [0] });
  });
});

describe("all or none, and release", () => {
  const dual = assign("h", { families: [4, 6] });
  const v6 = pool("six", "fd00::/124", { blockSize: 126 });

  test("dual stack gets one of each", () => {
    expect(
      answer(
        {
          pools: [pool("p", "10.0.0.0/30", { blockSize: 30 }), pool("six", "fd00::/126", { blockSize: 126 })],
        },
        dual,
      ),
    ).toEqual(["10.0.0.0 fd00::"]);
  });

  test("one family short: nothing is written", () => {
    const { answers, changes } = plan(world({ pools: [v6] }), [dual]);
    expect([answers[0]?.kind, changes]).toEqual(["failed", []]);
  });

  test.each<[why: string, Scene, Operation, string, (string | undefined)[]]>([
    [
      "by handle: own and borrowed",
      { blocks: [block("10.0.0.4/30", "n1", { 0: "h" }), block("10.0.0.8/30", "n2", { 1: "h@n1" })] },
      { kind: "release", handle: "h", reason: "cni-del" },
      "10.0.0.4 10.0.0.9",
      ["10.0.0.4/30", "10.0.0.8/30"],
    ],
    ["nothing held: nothing written", {}, { kind: "release", handle: "h", reason: "cni-del" }, "", []],
    [
      "the last address of a block without owner takes the block with it",
      { blocks: [block("10.0.0.4/30", undefined, { 0: "h@n1" })] },
      { kind: "release", handle: "h", reason: "cni-del" },
      "10.0.0.4",
      [undefined],
    ],
    [
      "by address and sequence",
      { blocks: [block("10.0.0.4/30", "n1", { 0: "h" })] },
      {
        kind: "release-addresses",
        which: [{ address: parseAddress("10.0.0.4"), sequence: 7 }],
        reason: "requested",
      },
      "10.0.0.4",
      ["10.0.0.4/30"],
    ],
    [
      "the sequence moved on: somebody else has it now",
      { blocks: [block("10.0.0.4/30", "n1", { 0: "h" })] },
      {
        kind: "release-addresses",
        which: [{ address: parseAddress("10.0.0.4"), sequence: 6 }],
        reason: "requested",
      },
      "",
      [],
    ],
    [
      "an address of no block",
      {},
      {
        kind: "release-addresses",
        which: [{ address: parseAddress("10.0.0.4"), sequence: 6 }],
        reason: "requested",
      },
      "",
      [],
    ],
    [
      "an address of another's block: read first",
      { blocks: [block("10.0.0.4/30", "n2", { 0: "h" })] },
      {
        kind: "release-addresses",
        which: [{ address: parseAddress("10.0.0.4"), sequence: 7 }],
        reason: "requested",
      },
      "read 10.0.0.4/30",
      [],
    ],
  ])("%s", (_why, scene, operation, expected, written) => {
    expect(answer(scene, operation)).toEqual([expected]);
    expect(plan(world(scene), [operation]).changes.map(({ after }) => after?.cidr)).toEqual(written);
  });
});
