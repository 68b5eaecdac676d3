import { describe, expect, test } from "@jest/globals";
import { encode, type IPAMBlock } from "@margay/api";
import { parsePrefix } from "@margay/net";
import { newBlock } from "./block.ts";
import { affinityKey, affinityName, BlockCache, blockKey } from "./view.ts";

const CIDR = "10.0.0.0/30";
const envelope = { apiVersion: "margay.dev/v1" } as const;

/** A block of the node that its revision names, as the watch or a write brings it. */
function blockAt(revision: number) {
  const spec = newBlock(parsePrefix(CIDR), `n${revision}`, new Date("2026-11-22T12:00:00.000Z"));
  const block: IPAMBlock = { ...envelope, kind: "IPAMBlock", metadata: { name: "10.0.0.0-30" }, spec };
  return { key: blockKey(CIDR), value: encode(block), revision };
}

function affinityOf(node: string) {
  const spec = { state: "confirmed", node, type: "host", cidr: CIDR } as const;
  const metadata = { name: affinityName(node, CIDR) };
  const value = encode({ ...envelope, kind: "BlockAffinity", metadata, spec });
  return { key: affinityKey(node, CIDR), value, revision: 1 };
}

const ownerIn = (cache: BlockCache) => cache.summaries().get(CIDR)?.affinity;

describe("of two writes the later one is seen, whichever comes first", () => {
  test.each([
    ["in order", [1, 2]],
    ["the other way round", [2, 1]],
  ])("%s", (_why, order) => {
    const [atOnce, oneByOne] = [new BlockCache({ node: "n1" }), new BlockCache({ node: "n1" })];
    for (const revision of order) {
      atOnce.observe(blockAt(revision));
      oneByOne.observe(blockAt(revision));
      oneByOne.summaries(); // somebody looks
    }
    expect([ownerIn(atOnce), ownerIn(oneByOne)]).toEqual(["host:n2", "host:n2"]);
    expect([...oneByOne.mine()]).toEqual([]); // the later one is another node's
  });
});

test("what goes before anybody has looked at it is gone", () => {
  const cache = new BlockCache({ node: "n1" });
  cache.observe(blockAt(1));
  cache.forget(blockKey(CIDR));
  expect([...cache.summaries(), ...cache.mine()]).toEqual([]);
});

test("affinities are this node's: not one's whose name begins with its own", () => {
  const cache = new BlockCache({ node: "n1" });
  const entries = ["n1", "n1-a", "n2"].map(affinityOf);
  cache.apply(entries.map((entry) => ({ key: entry.key, entry })));
  expect([...cache.affinities().values()].map(({ value }) => value.node)).toEqual(["n1"]);
  cache.forget(affinityKey("n1-a", CIDR));
  expect(cache.affinities().size).toBe(1);
});
