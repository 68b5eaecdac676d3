import { describe, expect, test } from "@jest/globals";
import { type BlockAffinity, decode, type IPAMBlock, type IPPool, keyOf } from "@margay/api";
import { type MemoryStore, memoryStore, type Store, StoreError } from "@margay/datastore";
import { type Family, formatAddress, overlaps, parseAddress, parsePrefix } from "@margay/net";
import fc from "fast-check";
import { addressesOf } from "./audit.ts";
import type { Held } from "./block.ts";
import { formerBlocks } from "./former.ts";
import { Ipam } from "./ipam.ts";
import type { IpamOptions } from "./options.ts";
import { AFFINITIES, BLOCKS, BlockCache, type BlockView } from "./view.ts";

const pool = (name: string, cidr: string, blockSize: number): IPPool => ({
  apiVersion: "margay.dev/v1",
  kind: "IPPool",
  metadata: { name },
  spec: {
    ...{ cidr, blockSize, ipipMode: "Never", vxlanMode: "Never", natOutgoing: false, disabled: false },
    ...{
      disableBGPExport: false,
      nodeSelector: "all()",
      allowedUses: ["Workload"],
      assignmentMode: "Automatic",
    },
  },
});

const STRICT = {
  ...{ strictAffinity: true, autoAllocateBlocks: true, maxBlocksPerHost: 0, ipCooldownSeconds: 0 },
  ...{ hostReserved: { first: 0, last: 0 }, rackLabel: "topology.kubernetes.io/rack" },
  kubeVirtVMAddressPersistence: "Enabled" as const,
};
const POOLS = [pool("four", "10.0.0.0/28", 30), pool("six", "fd00::/124", 126)];

function ipamOn(store: Store, node: string, extra: Partial<IpamOptions> = {}): Ipam {
  const config = { ...STRICT, strictAffinity: false };
  const now = () => new Date("2026-11-22T12:00:00.000Z");
  return new Ipam({
    store,
    node,
    now,
    pools: () => POOLS,
    config: () => config,
    labels: () => ({}),
    ...extra,
  });
}

const pod = (handle: string, families: Family[] = [4], node = "n1") => ({
  handle,
  families,
  attributes: { node },
});

async function blocksIn(store: Store): Promise<IPAMBlock["spec"][]> {
  return (await store.list(BLOCKS)).entries.map(({ key, value }) => (decode(key, value) as IPAMBlock).spec);
}

/** "address handle" of every allocation in the store. */
const allocationsIn = async (store: Store): Promise<string[]> =>
  (await blocksIn(store)).flatMap(addressesOf).map(({ address, handle }) => `${address} ${handle}`);

/** "node cidr state" of every affinity in the store. */
async function affinitiesIn(store: Store): Promise<string[]> {
  const specs = (await store.list(AFFINITIES)).entries.map(
    (e) => (decode(e.key, e.value) as BlockAffinity).spec,
  );
  return specs.map(({ node, cidr, state }) => `${node} ${cidr} ${state}`);
}

const familyAndHandle = (line: string): string =>
  line.replace(/^(\S+)/, (address) => (address.includes(":") ? "6" : "4"));

/** Counts writes, and lets a test make one fail. */
function counting(store: Store): Store & { writes: number } {
  const counted = { ...store, writes: 0 };
  for (const name of ["create", "update", "put", "delete", "commit"] as const) {
    const act = store[name] as (...args: unknown[]) => Promise<never>;
    Object.assign(counted, {
      [name]: (...args: unknown[]) => {
        counted.writes++;
        return act(...args);
      },
    });
  }
  return counted;
}

describe("one allocator", () => {
  test("a hundred pods at once: the first claims their blocks in two writes, the next hundred share one", async () => {
    const store = counting(memoryStore());
    const options = { pools: () => [pool("big", "10.244.0.0/16", 24)] };
    const ipam = ipamOn(store, "n1", options);
    const burst = (from: number) => Array.from({ length: 100 }, (_, i) => ipam.assign(pod(`h${from + i}`)));
    const first = await Promise.all(burst(0));
    expect(store.writes).toBe(2); // block with 100 addresses and affinity pending, affinity confirmed
    const second = await Promise.all(burst(100));
    expect(store.writes).toBe(3);
    expect(new Set([...first, ...second].flat().map(({ address }) => formatAddress(address))).size).toBe(200);
  });

  test("with a watched cache nothing is read: not to claim, not to assign, not to release", async () => {
    const store = memoryStore();
    const never = () => Promise.reject(new Error("read"));
    const cache = new BlockCache({ node: "n1" });
    const ipam = ipamOn({ ...store, get: never, list: never }, "n1", { blocks: cache });
    for (const handle of ["a", "b", "c", "d", "e"]) await ipam.assign(pod(handle, [4, 6])); // two blocks each
    await ipam.release({ handle: "a" });
    expect(await allocationsIn(store)).toHaveLength(8);
    expect(await affinitiesIn(store)).toHaveLength(4);
  });

  test("a repeated assign gives the same address and writes nothing", async () => {
    const store = counting(memoryStore());
    const ipam = ipamOn(store, "n1");
    const first = await ipam.assign(pod("h", [4, 6]));
    const before = store.writes;
    expect(await ipam.assign(pod("h", [4, 6]))).toEqual(first);
    expect(await ipamOn(store, "n1").assign(pod("h", [4, 6]))).toEqual(first); // after a restart, too
    expect(store.writes).toBe(before);
  });

  test("a release with a sequence number that is not the address's own frees nothing", async () => {
    const store = memoryStore();
    const ipam = ipamOn(store, "n1");
    const [held] = await ipam.assign(pod("h"));
    expect(await ipam.releaseAddress({ ...held!, sequence: held!.sequence - 1 })).toBe(false); // one family, one address
    expect(await ipam.releaseAddress(held!)).toBe(true);
    expect(await ipam.releaseAddress(held!)).toBe(false);
    expect(await allocationsIn(store)).toEqual([]);
  });

  test("a store that is away is a retryable error, and nothing is lost when it had taken the write", async () => {
    const store = memoryStore();
    const ipam = ipamOn(store, "n1");
    await ipam.assign(pod("first"));
    store.failNext({ when: "after" });
    await expect(ipam.assign(pod("h"))).rejects.toMatchObject({ code: "datastore", retryable: true });
    const [again] = await ipam.assign(pod("h"));
    expect(await allocationsIn(store)).toContain(`${formatAddress(again!.address)} h`);
    expect(await allocationsIn(store)).toHaveLength(2);
  });

  test("dual stack: a second family whose block must be claimed is in the first one's write", async () => {
    const store = memoryStore();
    const ipam = ipamOn(store, "n1");
    await ipam.assign(pod("first", [4])); // the second family's block has yet to be claimed
    store.failNext({ when: "before" });
    await expect(ipam.assign(pod("h", [4, 6]))).rejects.toMatchObject({ code: "datastore" });
    expect((await allocationsIn(store)).filter((line) => line.endsWith(" h"))).toEqual([]);
  });

  test("dual stack: the second family's block is lost to another, then its write fails: the first is not written either", async () => {
    const memory = memoryStore();
    let tries = 0;
    const commit: Store["commit"] = async (changes) => {
      const lost = changes.find(({ key }) => key.startsWith(`${BLOCKS}fd00`));
      if (!lost) return memory.commit(changes);
      if (++tries > 2) throw new StoreError("unavailable", "no answer");
      throw new StoreError("exists", "another node's", { key: lost.key });
    };
    const assigned = ipamOn({ ...memory, commit }, "n1").assign(pod("h", [4, 6]));
    await expect(assigned).rejects.toMatchObject({ code: "datastore" });
    expect(tries).toBe(3);
    expect(await allocationsIn(memory)).toEqual([]);
  });

  test("dual stack in blocks that the node has: one write, both families or neither", async () => {
    const memory = memoryStore();
    const store = counting(memory);
    const ipam = ipamOn(store, "n1");
    await ipam.assign(pod("first", [4, 6]));
    const before = store.writes;
    await ipam.assign(pod("h", [4, 6]));
    expect(store.writes).toBe(before + 1);
    memory.failNext({ when: "before" });
    await expect(ipam.assign(pod("lost", [4, 6]))).rejects.toMatchObject({ code: "datastore" });
    expect((await allocationsIn(store)).filter((line) => line.endsWith(" lost"))).toEqual([]);
  });

  describe("what goes along", () => {
    const beside = (key: string, value = "it") => [{ type: "create", key, value } as const];

    test("is in the same write as the addresses, and knows them; a burst's is in one, too", async () => {
      const store = counting(memoryStore());
      const ipam = ipamOn(store, "n1", { pools: () => [pool("big", "10.244.0.0/16", 24)] });
      await ipam.assign(pod("first"));
      const before = store.writes;
      const all = await Promise.all(
        ["a", "b", "c"].map((name) =>
          ipam.assignWith(pod(name), ([one]) => beside(`/x/${name}`, formatAddress(one!.address))),
        ),
      );
      expect(store.writes).toBe(before + 1);
      expect(all.map(({ wroteAlong }) => wroteAlong)).toEqual([true, true, true]);
      const { entries } = await store.list("/x/");
      expect(entries.map(({ value }) => value)).toEqual(
        all.map(({ held }) => formatAddress(held[0]!.address)),
      );
      const [block] = (await store.list(BLOCKS)).entries;
      expect(new Set([block, ...entries].map((entry) => entry?.revision)).size).toBe(1);
    });

    test("is in a claim's first write, too", async () => {
      const store = memoryStore();
      const asked = () => ipamOn(store, "n1").assignWith(pod("h"), () => beside("/x/h"));
      store.failNext({ when: "before", afterWrites: 1 }); // the affinity is not confirmed
      await expect(asked()).rejects.toMatchObject({ code: "datastore" });
      expect(await allocationsIn(store)).toHaveLength(1); // for its caller to take back
      expect((await store.list("/x/")).entries).toHaveLength(1);
      expect(await affinitiesIn(store)).toEqual([expect.stringMatching(/ pending$/)]);
    });

    test("a claim that is not confirmed fails who is in it, and nobody else of that write", async () => {
      const store = memoryStore();
      const ipam = ipamOn(store, "n1", { pools: () => [pool("four", "10.0.0.0/28", 30)] });
      for (const one of ["a", "b", "c"]) await ipam.assign(pod(one)); // one is left of the block
      store.failNext({ when: "before", afterWrites: 1 });
      const both = await Promise.allSettled(
        ["d", "e"].map((one) => ipam.assignWith(pod(one), () => beside(`/x/${one}`))),
      );
      expect(both).toMatchObject([
        { status: "fulfilled", value: { wroteAlong: true } },
        { status: "rejected", reason: { code: "datastore" } },
      ]);
      expect((await store.list("/x/")).entries).toHaveLength(2); // the second's for its caller to take back
      expect(await allocationsIn(store)).toHaveLength(5);
    });

    test("is left to the caller when the block must be borrowed from, or when the handle has its address already", async () => {
      const store = memoryStore();
      const ipam = ipamOn(store, "n1");
      await ipam.assign(pod("h"));
      const asked = () => ipam.assignWith(pod("h"), () => beside("/x/h"));
      expect(await asked()).toMatchObject({ wroteAlong: false });
      const borrower = ipamOn(store, "n2", { pools: () => [pool("four", "10.0.0.0/28", 28)] });
      for (const one of ["a", "b", "c", "d", "e"]) await ipam.assign(pod(one)); // more than a block of four
      expect(await borrower.assignWith(pod("i", [4], "n2"), () => beside("/x/i"))).toMatchObject({
        wroteAlong: false,
      });
      expect((await store.list("/x/")).entries).toEqual([]);
    });

    test("is left to the caller of a repeat, which has it already; who shares the write has it in that one", async () => {
      const store = counting(memoryStore());
      const ipam = ipamOn(store, "n1", { pools: () => [pool("big", "10.244.0.0/16", 24)] });
      await ipam.assignWith(pod("h"), () => beside("/x/h"));
      const before = store.writes;
      const [repeat, other] = await Promise.all(
        ["h", "i"].map((name) => ipam.assignWith(pod(name), () => beside(`/x/${name}`, "again"))),
      );
      expect([repeat, other]).toMatchObject([{ wroteAlong: false }, { wroteAlong: true }]);
      expect(store.writes).toBe(before + 1);
      expect(await store.get("/x/h")).toMatchObject({ value: "it" });
    });

    test("refused, it costs nobody an address", async () => {
      const store = memoryStore();
      const ipam = ipamOn(store, "n1");
      await ipam.assign(pod("first"));
      await store.put("/x/there", "before");
      const [refused, other] = await Promise.all([
        ipam.assignWith(pod("h"), () => beside("/x/there")),
        ipam.assignWith(pod("i"), () => beside("/x/new")),
      ]);
      expect([refused, other]).toMatchObject([{ wroteAlong: false }, { wroteAlong: false }]);
      expect(await allocationsIn(store)).toHaveLength(3);
      expect(await store.get("/x/there")).toMatchObject({ value: "before" });
      expect(await store.get("/x/new")).toBeUndefined();
    });

    test("is not more than one transaction takes: the rest is left to the callers", async () => {
      const memory = memoryStore();
      const sizes: number[] = [];
      const commit: Store["commit"] = (changes) => {
        sizes.push(changes.length);
        return memory.commit(changes);
      };
      const big = { pools: () => [pool("big", "10.244.0.0/16", 24)] };
      const ipam = ipamOn({ ...memory, commit }, "n1", big);
      await ipam.assign(pod("first"));
      const all = await Promise.all(
        Array.from({ length: 100 }, (_, i) => [...beside(`/x/${i}`), ...beside(`/y/${i}`)]).map((two, i) =>
          ipam.assignWith(pod(`h${i}`), () => two),
        ),
      );
      expect(sizes).toEqual([2, 119]); // the claim; the block, and two for each of 59
      expect(all.filter(({ wroteAlong }) => wroteAlong)).toHaveLength(59);
      expect(await allocationsIn(memory)).toHaveLength(101);
    });

    test("that cannot be said fails its own operation, and nobody else's of the same write", async () => {
      const store = memoryStore();
      const ipam = ipamOn(store, "n1");
      await ipam.assign(pod("first"));
      const bad = () => {
        throw new Error("no such thing");
      };
      const [failed, other] = await Promise.allSettled([
        ipam.assignWith(pod("h"), bad),
        ipam.assignWith(pod("i"), () => beside("/x/i")),
      ]);
      expect(failed).toMatchObject({ status: "rejected", reason: { message: "no such thing" } });
      expect(other).toMatchObject({ status: "fulfilled", value: { wroteAlong: true } });
      expect((await allocationsIn(store)).map((line) => line.split(" ")[1])).toEqual(["first", "i"]);
    });

    test("is not there when the addresses are not: another node has written the block meanwhile", async () => {
      const store = memoryStore();
      const cache = new BlockCache({ node: "n1" }); // sees what n1 writes only
      const ipam = ipamOn(store, "n1", { blocks: cache });
      await ipam.assign(pod("first"));
      const [entry] = (await store.list(BLOCKS)).entries;
      await store.put(entry!.key, entry!.value); // the same, one revision on
      const seen: number[] = [];
      const { wroteAlong } = await ipam.assignWith(pod("h"), () => {
        seen.push(store.revision);
        return beside("/x/h");
      });
      expect({ wroteAlong, plans: seen.length }).toEqual({ wroteAlong: true, plans: 2 });
      expect(await allocationsIn(store)).toHaveLength(2);
    });
  });

  test("a repeat that shares a write that fails keeps what it had", async () => {
    const store = memoryStore();
    const ipam = ipamOn(store, "n1");
    await ipam.assign(pod("h", [4, 6]));
    store.failNext({ when: "before" });
    const [other, repeat] = await Promise.allSettled([
      ipam.assign(pod("other")),
      ipam.assign(pod("h", [4, 6])),
    ]);
    expect([other.status, repeat.status]).toEqual(["rejected", "rejected"]);
    expect((await allocationsIn(store)).toSorted()).toHaveLength(2);
    expect(await ipam.assign(pod("h", [4, 6]))).toHaveLength(2);
  });

  test("an address asked for, held by another: refused, and said by whom", async () => {
    const ipam = ipamOn(memoryStore(), "n1");
    const wanted = { addresses: [parseAddress("10.0.0.5")] };
    await ipam.assign({ ...pod("a"), ...wanted });
    await expect(ipam.assign({ ...pod("b"), ...wanted })).rejects.toThrow(
      "ipam: address 10.0.0.5 is in use by a",
    );
  });

  test("a block given back: gone when empty, without owner while an address is in use, gone with its last", async () => {
    const store = memoryStore();
    const ipam = ipamOn(store, "n1");
    await ipam.assign(pod("h"));
    const [{ cidr }] = (await blocksIn(store)) as [IPAMBlock["spec"]];
    await ipam.releaseBlock(cidr);
    expect((await blocksIn(store)).map(({ affinity }) => affinity)).toEqual([undefined]);
    expect(await affinitiesIn(store)).toEqual([]);
    await ipam.release({ handle: "h" });
    expect(await blocksIn(store)).toEqual([]);
  });

  test("a block given back by one node and then by another: each journal is kept", async () => {
    const store = memoryStore();
    for (const [node, at] of ["10.0.0.1", "10.0.0.2"].entries()) {
      const ipam = ipamOn(store, `n${node}`, { now: () => new Date(Date.UTC(2026, 10, 22, 12, 0, node)) });
      await ipam.assign({ ...pod(at, [4], `n${node}`), addresses: [parseAddress(at)] });
      await ipam.release({ handle: at });
      await ipam.releaseBlock("10.0.0.0/30");
    }
    const kept = await formerBlocks(store, parseAddress("10.0.0.1"));
    expect(kept.map(({ released }) => released?.map(({ handle }) => handle))).toEqual([
      ["10.0.0.1"],
      ["10.0.0.2"],
    ]);
  });

  test("strict and no block left: another node's is taken when it has been empty for a minute, and not before", async () => {
    const store = memoryStore();
    let minutes = 0;
    const clock = {
      pools: () => [pool("four", "10.0.0.0/29", 30)],
      now: () => new Date(Date.parse("2026-11-22T12:00:00.000Z") + minutes * 60_000),
      config: () => STRICT,
    };
    const [one, two] = [ipamOn(store, "n1", clock), ipamOn(store, "n2", clock)];
    for (const n of [1, 2, 3, 4, 5]) await one.assign(pod(`h${n}`)); // both blocks
    await one.release({ handle: "h5" });
    const wanted = () => two.assign(pod("x", [4], "n2"));
    await expect(wanted()).rejects.toMatchObject({ code: "pool-exhausted" });
    minutes = 2;
    expect((await wanted()).map(({ address }) => formatAddress(address))).toEqual(["10.0.0.0"]);
    expect(await affinitiesIn(store)).toHaveLength(2);
    expect((await blocksIn(store)).map(({ affinity }) => affinity).sort()).toEqual(["host:n1", "host:n2"]);
    minutes = 9;
    await expect(two.assign(pod("y", [4], "n2"))).resolves.toHaveLength(1);
    for (const n of [1, 2]) await two.assign(pod(`z${n}`, [4], "n2"));
    await expect(two.assign(pod("last", [4], "n2"))).rejects.toMatchObject({ code: "pool-exhausted" }); // n1's is in use
    await one.release({ handle: "h1" });
    await expect(one.assign(pod("h9"))).resolves.toHaveLength(1);
  });

  test("... nor where no block is to be claimed: it would be given back in vain", async () => {
    const store = memoryStore();
    let at = "2026-11-22T12:00:00.000Z";
    const strict = { pools: () => [pool("four", "10.0.0.0/30", 30)], now: () => new Date(at) };
    const one = ipamOn(store, "n1", { ...strict, config: () => STRICT });
    await one.assign(pod("h"));
    await one.release({ handle: "h" });
    at = "2026-11-22T12:02:00.000Z";
    const config = () => ({ ...STRICT, autoAllocateBlocks: false });
    await expect(ipamOn(store, "n2", { ...strict, config }).assign(pod("x"))).rejects.toThrow(
      "autoAllocateBlocks is off",
    );
    expect(await affinitiesIn(store)).toEqual(["n1 10.0.0.0/30 confirmed"]);
  });

  test("... beside ground that a pool of other blocks has, too: not what lies in that", async () => {
    const store = memoryStore();
    let at = "2026-11-22T12:00:00.000Z";
    const four = pool("four", "10.0.0.0/29", 30);
    const strict = { pools: () => [four], config: () => STRICT, now: () => new Date(at) };
    const asked = (...addresses: string[]) =>
      addresses.map((text) => ({ ...pod(text), addresses: [parseAddress(text)] }));
    for (const one of asked("10.0.0.0", "10.0.0.4")) {
      await ipamOn(store, "n1", strict).assign(one);
      await ipamOn(store, "n1", strict).release({ handle: one.handle });
    }
    at = "2026-11-22T12:02:00.000Z";
    const two = ipamOn(store, "n2", { ...strict, pools: () => [four, pool("rival", "10.0.0.0/30", 31)] });
    const [given] = await two.assign(pod("x", [4], "n2"));
    expect(given && formatAddress(given.address)).toMatch(/^10\.0\.0\.[4-7]$/);
    expect(await affinitiesIn(store)).toEqual(["n1 10.0.0.0/30 confirmed", "n2 10.0.0.4/30 confirmed"]);
  });

  test("nor does it matter whether something else was to be written along, as CNI ADD does", async () => {
    const store = memoryStore();
    let at = "2026-11-22T12:00:00.000Z";
    const strict = {
      ...{ pools: () => [pool("four", "10.0.0.0/30", 30)], config: () => STRICT },
      now: () => new Date(at),
    };
    const [one, two] = [ipamOn(store, "n1", strict), ipamOn(store, "n2", strict)];
    await one.assign(pod("h"));
    await one.release({ handle: "h" });
    at = "2026-11-22T12:02:00.000Z";
    const { held } = await two.assignWith(pod("x", [4], "n2"), () => []);
    expect(held).toHaveLength(1);
  });

  test("strict and no block left, and the store away when another's is looked for: said so, and not a fault of the program", async () => {
    const memory = memoryStore();
    let lists = 0;
    const store: Store = {
      ...memory,
      list: (prefix) => {
        if (++lists > 2) throw new StoreError("unavailable", "no answer"); // the plan's own two are answered
        return memory.list(prefix);
      },
    };
    const strict = { pools: () => [pool("four", "10.0.0.0/30", 30)], config: () => STRICT };
    await ipamOn(memory, "n2", strict).assign(pod("a"));
    await expect(ipamOn(store, "n1", strict).assign(pod("b"))).rejects.toMatchObject({ code: "datastore" });
  });

  test("a corrupt block in the store is left alone and does not stop the node", async () => {
    const store = memoryStore();
    const ipam = ipamOn(store, "n1");
    await ipam.assign(pod("a"));
    const [entry] = (await store.list(BLOCKS)).entries;
    await store.put(entry!.key, "{");
    await ipam.assign(pod("b"));
    expect((await store.get(entry!.key))?.value).toBe("{");
  });

  test("an address asked for of a corrupt block: an error that names the block, after one reading", async () => {
    const store = memoryStore();
    const ipam = ipamOn(store, "n1");
    const [held] = await ipam.assign(pod("a"));
    const [entry] = (await store.list(BLOCKS)).entries;
    await store.put(entry!.key, "{");
    let reads = 0;
    const get: Store["get"] = (key) => {
      reads++;
      return store.get(key);
    };
    const asked = { ...pod("b"), addresses: [held!.address] };
    await expect(ipamOn({ ...store, get }, "n2").assign(asked)).rejects.toMatchObject({
      ...{ code: "corrupt-block", retryable: false },
      message: expect.stringMatching(/^ipam: block 10\.0\.0\.\d+\/30 cannot be read/),
    });
    expect(reads).toBe(1);
  });
});

describe("a crash in the middle of a claim heals at the next one", () => {
  const WRITES = ["block with affinity pending", "affinity confirmed"];
  test.each(
    WRITES.flatMap((write, i) =>
      (["before", "after"] as const).map((when) => ({ write, when, afterWrites: i })),
    ),
  )("$when $write", async ({ when, afterWrites }) => {
    const store = memoryStore();
    store.failNext({ when, afterWrites });
    await expect(ipamOn(store, "n1").assign(pod("h"))).rejects.toMatchObject({ code: "datastore" });
    await ipamOn(store, "n1").assign(pod("h"));
    const [block, ...more] = await blocksIn(store);
    expect(more).toEqual([]);
    expect(await affinitiesIn(store)).toEqual([`n1 ${block?.cidr} confirmed`]);
    expect(await allocationsIn(store)).toHaveLength(1);
  });

  test("the pool has blocks of another size by then, and another node has one there: none is made over it", async () => {
    const store = memoryStore();
    const of = (blockSize: number) => ({ pools: () => [pool("four", "10.0.0.0/30", blockSize)] });
    const spec = { state: "pending", node: "n1", type: "host", cidr: "10.0.0.0/30" }; // left by who writes the block later
    const document = {
      apiVersion: "margay.dev/v1",
      kind: "BlockAffinity",
      metadata: { name: "n1-10.0.0.0-30" },
      spec,
    };
    await store.create(keyOf("BlockAffinity", "n1-10.0.0.0-30"), JSON.stringify(document));
    await ipamOn(store, "n2", of(31)).assign(pod("i", [4], "n2"));
    await ipamOn(store, "n1", of(31)).assign(pod("h"));
    expect((await blocksIn(store)).map(({ cidr }) => cidr)).toEqual(["10.0.0.0/31", "10.0.0.2/31"]);
    expect(await affinitiesIn(store)).toHaveLength(2);
  });

  test("a block that is written while it is given back keeps its affinity until that is done", async () => {
    const store = memoryStore();
    await ipamOn(store, "n1").assign(pod("h"));
    await ipamOn(store, "n1").release({ handle: "h" });
    const [block] = await blocksIn(store);
    const busy: Store["delete"] = async (key, revision) => {
      if (key.startsWith(BLOCKS)) throw new StoreError("conflict", "it is written");
      return store.delete(key, revision);
    };
    await ipamOn({ ...store, delete: busy }, "n1").releaseBlock(block!.cidr);
    expect(await affinitiesIn(store)).toEqual([`n1 ${block!.cidr} pendingDeletion`]);
    await ipamOn(store, "n1").release({ handle: "nobody" });
    expect([await affinitiesIn(store), await blocksIn(store)]).toEqual([[], []]);
  });

  test("another node won the block: the loser's affinity goes", async () => {
    const store = memoryStore();
    const [a, b] = [ipamOn(store, "n1"), ipamOn(store, "n2")];
    const asked = { addresses: [parseAddress("10.0.0.5")] };
    const other = { addresses: [parseAddress("10.0.0.6")] };
    await Promise.all([a.assign({ ...pod("h"), ...asked }), b.assign({ ...pod("i", [4], "n2"), ...other })]);
    const [block] = await blocksIn(store);
    expect(await affinitiesIn(store)).toEqual([`${block?.affinity?.slice(5)} 10.0.0.4/30 confirmed`]);
    expect((await allocationsIn(store)).toSorted()).toEqual(["10.0.0.5 h", "10.0.0.6 i"]);
  });
});

/** What the next call on the store suffers. */
type Fault = "none" | "conflict" | "lost" | "unanswered" | "crash-before" | "crash-after";

/** A node's own connection: slow, failing, and dead for good after a crash. */
function connection(store: Store, draw: () => { fault: Fault; turns: number }) {
  const state = { dead: false };
  const gone = () => new StoreError("unavailable", "on purpose");
  async function call<T>(act: () => Promise<T>, isWrite: boolean): Promise<T> {
    const { fault, turns } = draw();
    for (let i = 0; i < turns; i++) await Promise.resolve();
    if (state.dead) throw gone();
    if (!isWrite || fault === "none") return act();
    if (fault === "conflict") throw new StoreError("conflict", "on purpose");
    if (fault.startsWith("crash")) state.dead = true;
    if (fault === "unanswered" || fault === "crash-after") await act();
    throw gone();
  }
  const faulty: Store = {
    ...store,
    get: (key) => call(() => store.get(key), false),
    list: (prefix) => call(() => store.list(prefix), false),
    create: (...args) => call(() => store.create(...args), true),
    update: (...args) => call(() => store.update(...args), true),
    put: (...args) => call(() => store.put(...args), true),
    delete: (...args) => call(() => store.delete(...args), true),
    commit: (...args) => call(() => store.commit(...args), true),
  };
  return { store: faulty, state };
}

/** A cache that learns of others' writes some turns late, in order. */
async function laggingView(store: MemoryStore, node: string, turns: () => number): Promise<BlockView> {
  const cache = new BlockCache({ node });
  const { entries, revision } = await store.list("/");
  cache.apply(entries.map((entry) => ({ key: entry.key, entry })));
  const watch = store.watch("/", revision);
  void (async () => {
    for await (const events of watch)
      for (const e of events) {
        for (let i = turns(); i > 0; i--) await Promise.resolve();
        cache.apply([e.type === "put" ? { key: e.entry.key, entry: e.entry } : { key: e.key }]);
      }
  })();
  return cache;
}

interface Step {
  node: number;
  handle: number;
  release: boolean;
  families: Family[];
  pause: boolean;
  /** The pool is made anew with another block size, after a pause. */
  resize: boolean;
}

const step: fc.Arbitrary<Step> = fc.record({
  node: fc.nat({ max: 2 }),
  handle: fc.nat({ max: 5 }),
  release: fc.boolean(),
  families: fc.constantFrom<Family[]>([4], [4, 6]),
  pause: fc.boolean(),
  resize: fc.nat({ max: 9 }).map((n) => n === 0),
});
const fault = fc.oneof(
  { weight: 12, arbitrary: fc.constant<Fault>("none") },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Fault>("conflict", "lost", "unanswered", "crash-before", "crash-after"),
  },
);
const luck = fc.array(fc.record({ fault, turns: fc.nat({ max: 6 }) }), { minLength: 1, maxLength: 60 });

/** A claim is refused, so that its block is read and not there; made in the next round, it is there in the third. */
const MADE_SINCE: [Step[], { fault: Fault; turns: number }[]] = [
  [
    { node: 1, handle: 4, release: false, families: [4], pause: false, resize: false },
    { node: 1, handle: 0, release: false, families: [4, 6], pause: false, resize: true },
  ],
  [
    { fault: "none", turns: 1 },
    { fault: "none", turns: 0 },
    { fault: "conflict", turns: 0 },
    { fault: "none", turns: 0 },
  ],
];

describe("three nodes at once, with lost, unanswered and conflicting writes and crashes at any of them", () => {
  test.each([
    ["listing", false],
    ["watching, late", true],
  ])("%s", async (_name, watching) => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), luck, async (steps, draws) => {
        const rig = await Rig.start(draws, watching);
        for (const one of steps) {
          const done = rig.take(one);
          if (one.pause) await done;
          if (one.resize) await rig.resize();
        }
        await rig.settled();
        await rig.expectNothingTwiceNothingLost();
        await rig.expectEndpointsHold();
        await rig.expectHealed();
      }),
      { numRuns: 300, examples: [MADE_SINCE] },
    );
  });
});

/** Two blocks for three nodes: somebody always borrows. */
const scarce = (blockSize: number) => [
  pool("four", "10.0.0.0/29", blockSize),
  pool("six", "fd00::/125", 126),
];

/** Two of the six handles of a node ask for an address, the same on every node: in use by another, most of the time. */
const ASKED: Readonly<Record<number, string>> = { 4: "10.0.0.1", 5: "10.0.0.6" };

/** Where a handle's endpoint is: written with its addresses, gone before they are. */
const ENDPOINTS = "/x/endpoints/";

/** Three nodes on one store, and what their callers were told. */
class Rig {
  readonly store = memoryStore();
  readonly #draw: () => { fault: Fault; turns: number };
  readonly #watching: boolean;
  readonly #nodes: { ipam: Ipam; store: Store; state: { dead: boolean } }[] = [];
  #blockSize = 30;
  readonly #running: Promise<void>[] = [];
  /** What each handle was told it has, until its release was asked for: address -> handle. */
  readonly #told = new Map<string, string>();
  /** One caller per handle at a time, as a container runtime does. */
  readonly #busy = new Map<string, Promise<void>>();

  private constructor(draws: readonly { fault: Fault; turns: number }[], watching: boolean) {
    let at = 0;
    this.#draw = () => draws[at++ % draws.length]!; // minLength 1
    this.#watching = watching;
  }

  static async start(draws: readonly { fault: Fault; turns: number }[], watching: boolean): Promise<Rig> {
    const rig = new Rig(draws, watching);
    for (let node = 0; node < 3; node++) await rig.#boot(node);
    return rig;
  }

  async #boot(node: number): Promise<void> {
    const { store, state } = connection(this.store, this.#draw);
    const pools = () => scarce(this.#blockSize);
    const view = this.#watching && {
      blocks: await laggingView(this.store, `n${node}`, () => this.#draw().turns * 3),
    };
    this.#nodes[node] = { ipam: ipamOn(store, `n${node}`, { pools, ...view }), store, state };
  }

  take({ node, handle: number, release, families }: Step): Promise<void> {
    const handle = `n${node}-${number}-${families.length}`;
    const turn = (this.#busy.get(handle) ?? Promise.resolve()).then(async () => {
      if (this.#nodes[node]?.state.dead) await this.#boot(node);
      const { ipam, store } = this.#nodes[node]!; // booted above
      const asked = ASKED[number];
      const request = {
        ...pod(handle, families, `n${node}`),
        ...(asked && { addresses: [parseAddress(asked)] }),
      };
      try {
        if (release) await this.#release(ipam, store, handle);
        else this.#tell(await this.#add(ipam, store, request));
      } catch (error) {
        expect(["IpamError", "StoreError"]).toContain((error as Error).name);
      }
    });
    this.#busy.set(handle, turn);
    this.#running.push(turn);
    return turn;
  }

  #tell(held: Awaited<ReturnType<Ipam["assign"]>>): void {
    for (const { address, handle } of held) {
      const text = formatAddress(address);
      expect(this.#told.get(text) ?? handle).toBe(handle); // never two owners at one time
      this.#told.set(text, handle);
    }
  }

  /** As CNI ADD: with its endpoint, which is written by itself where it could not go along. */
  async #add(ipam: Ipam, store: Store, request: ReturnType<typeof pod>) {
    const key = ENDPOINTS + request.handle;
    const textOf = (held: readonly Held[]) => held.map(({ address }) => formatAddress(address)).join(" ");
    const { held, wroteAlong } = await ipam.assignWith(request, (chosen) => [
      { type: "create", key, value: textOf(chosen) },
    ]);
    if (wroteAlong) expect((await this.store.get(key))?.value).toBe(textOf(held));
    else await store.put(key, textOf(held));
    return held;
  }

  /** As CNI DEL: the addresses last, and not at all while the endpoint may be there. */
  async #release(ipam: Ipam, store: Store, handle: string): Promise<void> {
    for (const [address, owner] of this.#told) if (owner === handle) this.#told.delete(address);
    await store.delete(ENDPOINTS + handle);
    await ipam.release({ handle });
  }

  /** Between operations, and where nobody's view is late: two who do not know of each other's size may overlap. */
  async resize(): Promise<void> {
    if (this.#watching) return;
    await this.settled();
    this.#blockSize = this.#blockSize === 30 ? 31 : 30;
  }

  async settled(): Promise<void> {
    await Promise.all(this.#running);
  }

  async expectNothingTwiceNothingLost(): Promise<void> {
    const stored = await allocationsIn(this.store);
    expect(new Set(stored.map((line) => line.split(" ")[0])).size).toBe(stored.length);
    expect(new Set(stored.map(familyAndHandle)).size).toBe(stored.length); // no handle has two of a family
    expect(stored).toEqual(
      expect.arrayContaining([...this.#told].map(([address, handle]) => `${address} ${handle}`)),
    );
  }

  /** Whatever the caller was told: what is in an endpoint is its handle's, and no two blocks share an address. */
  async expectEndpointsHold(): Promise<void> {
    const stored = await allocationsIn(this.store);
    for (const { key, value } of (await this.store.list(ENDPOINTS)).entries)
      for (const address of value.split(" "))
        expect(stored).toContain(`${address} ${key.slice(ENDPOINTS.length)}`);
    const prefixes = (await blocksIn(this.store)).map(({ cidr }) => parsePrefix(cidr));
    expect(prefixes.some((one, i) => prefixes.slice(i + 1).some((other) => overlaps(one, other)))).toBe(
      false,
    );
  }

  /**
   * After a restart and one call, affinity and block agree; and every handle ever used can free all it has.
   */
  async expectHealed(): Promise<void> {
    for (const node of ["n0", "n1", "n2"]) {
      const ipam = ipamOn(this.store, node);
      for (const handle of this.#busy.keys()) if (handle.startsWith(node)) await ipam.release({ handle });
      await ipam.release({ handle: "none" });
    }
    expect(await allocationsIn(this.store)).toEqual([]);
    const owners = (await blocksIn(this.store)).map(
      ({ affinity, cidr }) => `${affinity?.slice(5)} ${cidr} confirmed`,
    );
    expect((await affinitiesIn(this.store)).toSorted()).toEqual(owners.toSorted());
  }
}
