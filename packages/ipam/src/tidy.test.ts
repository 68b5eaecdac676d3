import { describe, expect, test } from "@jest/globals";
import { decode, type IPAMBlock, type IPAMConfiguration, type IPPool, parse } from "@margay/api";
import { type MemoryStore, memoryStore, resources } from "@margay/datastore";
import { type Family, formatAddress, parseAddress, parsePrefix } from "@margay/net";
import { newBlock } from "./block.ts";
import { type IpamEvent, limitRatio } from "./events.ts";
import { Ipam } from "./ipam.ts";
import { deleteNode, releaseFound } from "./node.ts";
import { AFFINITIES, BLOCKS } from "./view.ts";

const spec = <T>(kind: string, name: string, of: object): T =>
  parse({ apiVersion: "margay.dev/v1", kind, metadata: { name }, spec: of }).resource as T; // of the kind asked for

/** One node on a store, with a clock that the test moves. */
function rig(config: Partial<IPAMConfiguration["spec"]> = {}, node = "n1", store = memoryStore()) {
  const world = {
    seconds: 0,
    pools: [
      spec<IPPool>("IPPool", "four", { cidr: "10.0.0.0/28", blockSize: 30 }),
      spec<IPPool>("IPPool", "six", { cidr: "fd00::/124", blockSize: 126 }),
    ],
    config: { ...spec<IPAMConfiguration>("IPAMConfiguration", "default", {}).spec, ...config },
  };
  const events: IpamEvent[] = [];
  const ipam = new Ipam({
    ...{ store, node, labels: () => ({}), pools: () => world.pools, config: () => world.config },
    now: () => new Date(Date.UTC(2026, 10, 22, 12) + world.seconds * 1000),
    onEvent: (event) => events.push(event),
  });
  const assign = async (handle: string, families: Family[] = [4]) => {
    const held = await ipam.assign({ handle, families, attributes: { node } });
    return held.map(({ address }) => formatAddress(address));
  };
  return { store, world, ipam, assign, events };
}

const keys = async (store: MemoryStore, prefix: string) =>
  (await store.list(prefix)).entries.map(({ key }) => key.slice(prefix.length));
const handles = (n: number) => Array.from({ length: n }, (_, i) => `h${i}`);

describe("tidy", () => {
  test("an empty block goes back when it was empty the last time, too; one of each family stays", async () => {
    const { ipam, assign, store } = rig();
    for (const handle of handles(9)) await assign(handle, [4, 6]);
    expect(await keys(store, BLOCKS)).toHaveLength(6);
    for (const handle of handles(9)) await ipam.release({ handle });
    expect(await ipam.tidy()).toEqual([]);
    expect(await ipam.tidy()).toHaveLength(4);
    expect(await ipam.tidy()).toEqual([]);
    expect(await keys(store, BLOCKS)).toHaveLength(2);
    expect(await keys(store, AFFINITIES)).toHaveLength(2);
  });

  test("a block in use at the time between is not handed back", async () => {
    const { ipam, assign } = rig();
    for (const handle of handles(5)) await assign(handle);
    await ipam.release({ handle: "h4" });
    await ipam.tidy();
    await assign("again");
    await ipam.tidy();
    await ipam.release({ handle: "again" });
    expect(await ipam.tidy()).toEqual([]);
    expect(await ipam.tidy()).toHaveLength(1);
  });

  test("of a pool that is no longer for this node, the last empty block goes too", async () => {
    const { ipam, assign, world } = rig();
    await assign("h");
    await ipam.release({ handle: "h" });
    world.pools = [
      spec<IPPool>("IPPool", "four", { cidr: "10.0.0.0/28", blockSize: 30, nodeSelector: "has(gpu)" }),
    ];
    await ipam.tidy();
    expect(await ipam.tidy()).toHaveLength(1);
  });

  test("sparse blocks drain: new pods go to the fullest", async () => {
    const { ipam, assign } = rig();
    for (const handle of handles(8)) await assign(handle); // two full blocks
    for (const handle of ["h0", "h1", "h2", "h4"]) await ipam.release({ handle }); // 1 and 3 left
    await assign("x");
    await ipam.release({ handle: "h3" });
    await ipam.tidy();
    expect(await ipam.tidy()).toHaveLength(1);
  });

  test("a block that cools down stays, with its owner and without, and goes afterwards", async () => {
    const { ipam, assign, world, store } = rig({ ipCooldownSeconds: 60 });
    await assign("h");
    const [cidr] = await keys(store, BLOCKS);
    await ipam.releaseBlock(cidr!.replace("-", "/")); // one block: one key
    await ipam.release({ handle: "h" });
    await ipam.tidy();
    expect(await keys(store, BLOCKS)).toEqual([cidr]);
    world.seconds = 60;
    await ipam.tidy();
    expect(await keys(store, BLOCKS)).toEqual([]);
  });

  test("... and one that is not the last stays its node's so long", async () => {
    const { ipam, assign, world, store } = rig({ ipCooldownSeconds: 60 });
    for (const handle of handles(5)) await assign(handle);
    await ipam.release({ handle: "h4" });
    for (let i = 0; i < 3; i++) expect(await ipam.tidy()).toEqual([]);
    expect(await keys(store, AFFINITIES)).toHaveLength(2);
    world.seconds = 60;
    expect([...(await ipam.tidy()), ...(await ipam.tidy())]).toHaveLength(1);
  });
});

test("a freed address is not given again before it has rested, nor by borrowing", async () => {
  const { ipam, assign, world, store } = rig({ ipCooldownSeconds: 60 });
  const given = await Promise.all(handles(16).map((handle) => assign(handle))); // the whole pool
  await ipam.release({ handle: "h3", reason: "cni-del" });
  const other = rig({ ipCooldownSeconds: 60 }, "n2", store);
  await expect(other.assign("late")).rejects.toMatchObject({ code: "pool-exhausted" });
  other.world.seconds = 60;
  expect(await other.assign("late")).toEqual(given[3]);
  expect(world.seconds).toBe(0);
});

test("events: blocks claimed, each address freed with its reason, and a warning before the limit is reached", async () => {
  const { ipam, assign, events } = rig({ strictAffinity: true, maxBlocksPerHost: 3 });
  for (const handle of handles(5)) await assign(handle);
  await ipam.release({ handle: "h4", reason: "cni-del" });
  expect(
    events.map((event) => (event.kind === "freed" ? `${event.handle} ${event.reason}` : event.kind)),
  ).toEqual(["block-claimed", "block-claimed", "near-block-limit", "h4 cni-del"]);
  expect(events).toContainEqual({ kind: "near-block-limit", node: "n1", owned: 2, limit: 3 });
});

test.each<[why: string, limit: number, ratio: number]>([
  ["of the family that has more, this node's only", 4, 0.5],
  ["without a limit", 0, 0],
])("how near the limit is: %s", (_why, limit, ratio) => {
  const block = (cidr: string, node: string) => ({
    revision: 1,
    value: { ...newBlock(parsePrefix(cidr), node, new Date(0)) },
  });
  const blocks = [
    ...[block("10.0.0.0/30", "n1"), block("10.0.0.4/30", "n1"), block("fd00::/126", "n1")],
    block("10.0.0.8/30", "n2"),
  ];
  expect(limitRatio(blocks, { node: "n1", limit })).toBe(ratio);
});

test("collect: all of a handle or none of it", async () => {
  const { ipam, assign } = rig();
  await assign("a", [4, 6]);
  const [found] = await ipam.garbage({ goneNodes: new Set(["n1"]) });
  await ipam.release({ handle: "a" });
  await assign("b", [4]);
  expect(await ipam.collect([found!])).toEqual([]); // one handle, one find
  const again = await ipam.garbage({ goneNodes: new Set(["n1"]) });
  expect((await ipam.collect(again)).map(({ handle }) => handle)).toEqual(["b"]);
});

test("a deleted node: its addresses are free, its blocks gone, others' pods in them untouched", async () => {
  const store = memoryStore();
  const [one, two] = [rig({}, "n1", store), rig({}, "n2", store)];
  for (const handle of handles(3)) await one.assign(handle, [4, 6]);
  const guest = { handle: "guest", families: [4] as Family[], attributes: { node: "n2" } };
  const [block] = (await keys(store, BLOCKS)).filter((key) => key.startsWith("10."));
  const free = await firstFree(store, block!); // three pods have one
  await two.ipam.assign({ ...guest, addresses: [parseAddress(free)] });
  const freed = await deleteNode({ store, now: () => new Date() }, "n1");
  expect(freed.map(({ reason }) => reason)).toEqual(Array(3).fill("node-deleted"));
  expect(await keys(store, AFFINITIES)).toEqual([]);
  const left = (await store.list(BLOCKS)).entries.map((e) => decode(e.key, e.value).spec as object);
  expect(left).toMatchObject([{ allocations: expect.objectContaining({}) }]);
  expect(JSON.stringify(left)).toContain('"handle":"guest"');
  expect(await deleteNode({ store, now: () => new Date() }, "n1")).toEqual([]);
});

test("a deleted node one of whose empty blocks has lost its affinity: that block goes, too", async () => {
  const { store, ipam, assign } = rig();
  await assign("h", [4, 6]);
  await ipam.release({ handle: "h" });
  const [lost] = await keys(store, AFFINITIES);
  await store.delete(`${AFFINITIES}${lost}`);
  await deleteNode({ store, now: () => new Date() }, "n1");
  expect([await keys(store, AFFINITIES), await keys(store, BLOCKS)]).toEqual([[], []]);
});

test("an IPAMConfiguration that nobody can read holds no freeing up", async () => {
  const store = memoryStore();
  const one = rig({}, "n1", store);
  for (const handle of handles(2)) await one.assign(handle);
  await store.put("/margay/v1/ipamconfigurations/default", "rubbish");
  const now = () => new Date();
  const [found] = await one.ipam.garbage({ goneNodes: new Set(["n1"]) });
  expect(await releaseFound({ store, now }, [found!])).toEqual([found]);
  expect(await deleteNode({ store, now }, "n1")).toHaveLength(1);
  expect(await keys(store, BLOCKS)).toEqual([]);
});

describe("whoever frees for others lets the addresses rest as the configuration says", () => {
  async function busy() {
    const store = memoryStore();
    const one = rig({ ipCooldownSeconds: 60 }, "n1", store);
    const config = spec<IPAMConfiguration>("IPAMConfiguration", "default", { ipCooldownSeconds: 60 });
    await resources(store, "IPAMConfiguration").create(config);
    for (const handle of handles(4)) await one.assign(handle); // the block is full
    await one.ipam.release({ handle: "h0" });
    return { store, one, now: () => new Date(Date.UTC(2026, 10, 22, 12)) };
  }
  const blocksIn = async (store: MemoryStore) =>
    (await store.list(BLOCKS)).entries.map((e) => (decode(e.key, e.value) as IPAMBlock).spec);

  test("the controllers: what was resting goes on resting", async () => {
    const { store, one, now } = await busy();
    const found = (await one.ipam.garbage({ goneNodes: new Set(["n1"]) })).slice(0, 1);
    await releaseFound({ store, now }, found);
    const [block] = await blocksIn(store);
    expect(block?.released?.map(({ handle }) => handle)).toEqual(["h0", "h1"]);
    await expect(one.assign("next", [4])).resolves.not.toEqual(["10.0.0.0"]); // of another block
  });

  test("a deleted node's blocks stay, without an owner, until they have rested", async () => {
    const { store, one, now } = await busy();
    await deleteNode({ store, now }, "n1");
    const [block] = await blocksIn(store);
    expect([block?.affinity, block?.released?.length]).toEqual([undefined, 4]);
    const other = rig({ ipCooldownSeconds: 60 }, "n2", store);
    await other.ipam.tidy();
    expect(await keys(store, BLOCKS)).toHaveLength(1);
    other.world.seconds = one.world.seconds + 60;
    await other.ipam.tidy();
    expect(await keys(store, BLOCKS)).toEqual([]);
  });

  test("a node in need takes another's block only when that has rested", async () => {
    const config = { ipCooldownSeconds: 300, strictAffinity: true };
    const store = memoryStore();
    const [one, two] = [rig(config, "n1", store), rig(config, "n2", store)];
    for (const handle of handles(16)) await one.assign(handle);
    for (const handle of handles(4)) await one.ipam.release({ handle });
    two.world.seconds = 299;
    await expect(two.assign("x")).rejects.toMatchObject({ code: "pool-exhausted" });
    two.world.seconds = 300;
    expect(await two.assign("x")).toHaveLength(1);
  });
});

/** An address of the block that nobody has. */
async function firstFree(store: MemoryStore, key: string): Promise<string> {
  const block = decode(`${BLOCKS}${key}`, (await store.get(`${BLOCKS}${key}`))!.value).spec as {
    // it was just listed
    allocations: object;
  };
  const base = Number(key.split(".")[3]!.split("-")[0]); // an IPv4 block
  const ordinal = [3, 2, 1, 0].find((n) => !(n in block.allocations)) ?? 3;
  return `10.0.0.${base + ordinal}`;
}
