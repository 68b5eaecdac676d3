import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "@jest/globals";
import type { IPAMConfiguration, IPPool } from "@margay/api";
import { originsOf } from "@margay/bgpd";
import { etcdStore, resources, type Store } from "@margay/datastore";
import { addressesOf, audit, Ipam, type IpamError, parsePools } from "@margay/ipam";
import { parsePrefix } from "@margay/net";
import fc from "fast-check";
import { ClusterView } from "./bench/ipam-cluster.ts";
import { follow, resource } from "./ipam/cluster.ts";
import { startEtcd } from "./ipam/etcd.ts";
import { formatLine, judge, type Kind, parseLines } from "./ipam/history.ts";
import { eventually } from "./testing/lab.ts";

/** "n1.a assigned 10.0.0.1" and so on, in this order. */
function history(...words: string[]) {
  return words.map((text, i) => {
    const [handle = "", kind = "", addresses = ""] = text.split(" ");
    return { at: BigInt(i), kind: kind as Kind, handle, addresses: addresses.split(",").filter(Boolean) };
  });
}

describe("the judge of histories", () => {
  test.each<[why: string, words: string[], violations: string[]]>([
    ["one after the other", ["n1.a assigned x", "n1.a release", "n1.a released", "n2.b assigned x"], []],
    [
      "the release was called, its answer not seen: it may have happened",
      ["n1.a assigned x", "n1.a release", "n2.b assigned x"],
      [],
    ],
    [
      "two at one time",
      ["n1.a assigned x,y", "n2.b assigned z", "n2.c assigned y"],
      ["2: y was given to n2.c while n1.a held it"],
    ],
    [
      "a killed process still holds",
      ["n1.a assigned x", "n1.a assign", "n2.b assigned x"],
      ["2: x was given to n2.b while n1.a held it"],
    ],
    ["the node was deleted", ["n1.a assigned x", "n1 delete-node", "n2.b assigned x"], []],
    [
      "another node was deleted",
      ["n1.a assigned x", "n11 delete-node", "n2.b assigned x"],
      ["2: x was given to n2.b while n1.a held it"],
    ],
    ["the same again", ["n1.a assigned x", "n1.a assign", "n1.a assigned x"], []],
    [
      "reserved, as the node knew all the time",
      ["n1 reserved 10.0.0.8/30", "n1.a assign", "n1.a assigned 10.0.0.9"],
      ["2: n1.a was given 10.0.0.9, which is reserved"],
    ],
    ["another is reserved", ["n1 reserved 10.0.0.8/30", "n1.a assign", "n1.a assigned 10.0.0.1"], []],
    [
      "another node knows it, this one not yet",
      ["n2 reserved 10.0.0.8/30", "n1.a assign", "n1.a assigned 10.0.0.9"],
      [],
    ],
    ["asked for by name", ["n1 reserved 10.0.0.8/30", "n1.a assign 10.0.0.9", "n1.a assigned 10.0.0.9"], []],
    [
      "reserved while the call went on",
      ["n1.a assign", "n1 reserved 10.0.0.8/30", "n1.a assigned 10.0.0.9"],
      [],
    ],
    [
      "no more reserved at the end",
      ["n1 reserved 10.0.0.8/30", "n1.a assign", "n1 reserved", "n1.a assigned 10.0.0.9"],
      [],
    ],
    [
      "it had it before",
      ["n1.a assigned 10.0.0.9", "n1 reserved 10.0.0.8/30", "n1.a assign", "n1.a assigned 10.0.0.9"],
      [],
    ],
    [
      "it may have had it before: an earlier call was killed",
      ["n1.a assign", "n1 reserved 10.0.0.8/30", "n1.a assign", "n1.a assigned 10.0.0.9"],
      [],
    ],
    ["not the same again", ["n1.a assigned x", "n1.a assigned y"], ["1: n1.a had x and was given y"]],
  ])("%s", (_why, words, violations) => {
    const lines = history(...words);
    expect(judge(lines.toReversed()).violations).toEqual(violations);
    expect(parseLines(lines.map(formatLine).join(""))).toEqual(lines);
  });

  test.each<[why: string, words: string[], end: object]>([
    ["answered", ["n1.a assign", "n1.a assigned x"], { kind: "held", addresses: ["x"] }],
    ["killed in an assign", ["n1.a assign"], { kind: "unknown" }],
    ["killed in a release", ["n1.a assigned x", "n1.a release"], { kind: "unknown" }],
    ["released", ["n1.a assigned x", "n1.a release", "n1.a released"], { kind: "free" }],
  ])("in the end: %s", (_why, words, end) => {
    expect(judge(history(...words)).end.get("n1.a")).toEqual(end);
  });

  test("a line cut off by a kill is none", () => {
    expect(parseLines("1 assigned n1.a x\n2 assigned n1.b y")).toHaveLength(1);
  });
});

test("8 processes on one etcd, killed, their nodes deleted, their pools changed: no address twice, nothing lost", async () => {
  const soak = fileURLToPath(new URL("ipam/soak.ts", import.meta.url));
  const seed = String(fc.readConfigureGlobal().seed);
  const options = ["--operations", "1500", "--every", "50", "--seed", seed];
  const words = ["--conditions=margay-source", "--no-warnings", soak, ...options];
  const limits = { timeout: 880_000, killSignal: "SIGKILL" } as const;
  const { stdout, stderr } = await promisify(execFile)(process.execPath, words, limits).catch(
    (error) => error,
  );
  expect({ seed, stdout, stderr }).toEqual({
    ...{ seed, stderr: "" },
    stdout: expect.stringMatching(/^\{"seed":\d+,"operations":\d+,.*"violations":0\}\n$/),
  });
});

test("two writers make overlapping pools at one moment, and a node of each claims: no address twice, and all is well without one", async () => {
  const etcd = await startEtcd();
  const stores = [1, 2].map(() => etcdStore({ endpoints: [etcd.endpoint] }));
  const nodes = await Promise.all(stores.map((store, i) => nodeOn(store, `n${i}`, { n: `${i}` })));
  const pools = [
    resource<IPPool>("IPPool", "one", { cidr: "10.0.0.0/25", blockSize: 29, nodeSelector: "n == '0'" }),
    resource<IPPool>("IPPool", "two", { cidr: "10.0.0.0/25", blockSize: 27, nodeSelector: "n == '1'" }),
  ];
  const seen = (count: number) =>
    eventually(`${count} pools`, async () => nodes.every(({ pools }) => pools().length === count));
  try {
    await Promise.all(stores.map((store, i) => resources(store, "IPPool").apply(pools[i]!))); // as many
    await seen(2);
    const told = await Promise.all(nodes.map(({ fill }) => fill(40)));
    const blocks = (await resources(stores[0]!, "IPAMBlock").list()).map(({ spec }) => spec); // there are two
    const given = blocks.flatMap(addressesOf).map(({ address }) => address);
    expect(given).toEqual([...new Set(given)]);
    expect(told.flat()).toEqual(Array(80).fill("pools-overlap"));
    const input = { affinities: [], nodes: new Set<string>(), endpoints: new Map(), podCidrs: [] };
    const [problem] = audit({ ...input, pools: parsePools(pools), blocks });
    expect(problem).toEqual({ code: "pools-overlap", pool: "one", other: "two" });
    await resources(stores[1]!, "IPPool").delete("two");
    await seen(1);
    expect(await nodes[0]?.fill(1)).toEqual([1]);
  } finally {
    await Promise.all(nodes.map(({ stop }) => stop()));
    await Promise.all(stores.map((store) => store.close()));
    await etcd.remove();
  }
});

test("100 nodes in 5 racks that boot at once: bgpd announces of each rack what two aggregates cover", async () => {
  const etcd = await startEtcd();
  const store = etcdStore({ endpoints: [etcd.endpoint] });
  const view = new ClusterView(store);
  const racks = new Map(Array.from({ length: 100 }, (_, i) => [`n${i}`, `rack-${i % 5}`]));
  const pool = resource<IPPool>("IPPool", "p", { cidr: "10.244.0.0/16" });
  const config = resource<IPAMConfiguration>("IPAMConfiguration", "default", {}).spec;
  const boot = (node: string) =>
    new Ipam({
      ...{ store, node, blocks: view.of(node), now: () => new Date(), racks: () => racks },
      ...{ pools: () => [pool], config: () => config, labels: () => ({}) },
    }).assign({ handle: node, families: [4], attributes: { node } });
  try {
    await Promise.all([...racks.keys()].map(boot));
    const affinities = await resources(store, "BlockAffinity").list();
    const announced = (node: string) => originsOf({ node, affinities, endpoints: [], pools: [pool] }).blocks;
    const places = [...Map.groupBy(racks.keys(), (node) => racks.get(node)).values()].map((nodes) => {
      const all = nodes
        .flatMap(announced)
        .map(({ bits }) => Number((bits - parsePrefix("10.244.0.0/16").bits) / 64n));
      const first = Math.min(...all);
      return { isAligned: first % 32 === 0, blocks: all.map((place) => place - first).sort((a, b) => a - b) };
    });
    // sixteen side by side are a /22, and four a /24
    expect(places).toEqual(
      Array(5).fill({ isAligned: true, blocks: Array.from({ length: 20 }, (_, i) => i) }),
    );
  } finally {
    await view.stop();
    await store.close();
    await etcd.remove();
  }
});

/** A node with a watched view. `fill` asks for so many addresses at once: how many each got, or the code of the failure. */
async function nodeOn(store: Store, node: string, labels: Record<string, string>) {
  const { pools, config, blocks, stop } = await follow(store, node);
  const ipam = new Ipam({
    ...{ store, node, pools, config, blocks },
    labels: () => labels,
    now: () => new Date(),
  });
  const give = (handle: string) =>
    ipam.assign({ handle, families: [4], attributes: { node } }).then(
      ({ length }) => length,
      (error: IpamError) => error.code,
    );
  const fill = (count: number) => Promise.all(Array.from({ length: count }, (_, i) => give(`${node}.${i}`)));
  return { pools, fill, stop };
}
