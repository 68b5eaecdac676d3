import { beforeEach, expect, test } from "@jest/globals";
import { type IPPool, parse } from "@margay/api";
import { type MemoryStore, memoryStore, resources } from "@margay/datastore";
import { parsePrefix } from "@margay/net";
import { confirmClaim, readBlock, type Site, updateBlock, writeTogether } from "./affinity.ts";
import { assign, newBlock } from "./block.ts";
import { parsePools } from "./pools.ts";
import { takeEmpty } from "./take-empty.ts";
import { BlockCache } from "./view.ts";

const CIDR = "10.0.0.0/30";
const document = { apiVersion: "margay.dev/v1", kind: "IPPool", metadata: { name: "p" } };
const all = parsePools([parse({ ...document, spec: { cidr: CIDR, blockSize: 30 } }).resource as IPPool]); // one of that kind
const START = Date.parse("2026-11-22T12:00:00.000Z");
const after = (seconds: number) => () => new Date(START + seconds * 1000);

let store: MemoryStore;
let lender: Site;
beforeEach(async () => {
  store = memoryStore();
  lender = await siteOf("n1", 0);
  await writeTogether(lender, [{ after: newBlock(parsePrefix(CIDR), "n1", after(0)()) }], []); // as a claim whose ADD ended leaves it: empty, nothing in its journal
  await confirmClaim(lender, CIDR);
});

/** A node's place, with what the datastore has now for its view. */
async function siteOf(node: string, seconds: number): Promise<Site> {
  const view = new BlockCache({ node });
  const { entries } = await store.list("/margay/v1/");
  view.observe(...entries);
  return { store, node, view, now: after(seconds), cooldownSeconds: 0 };
}
const owners = async () =>
  (await resources(store, "BlockAffinity").list()).map(({ spec }) => `${spec.node} ${spec.state}`);

test.each([
  ["claimed less than a minute ago, its node may be about to use it", 59, undefined, ["n1 confirmed"]],
  ["and then it may not", 60, CIDR, []],
])("%s", async (_why, seconds, taken, left) => {
  expect(await takeEmpty(await siteOf("n2", seconds), { pools: all, all })).toBe(taken);
  expect(await owners()).toEqual(left);
});

test("in use by now, which the view has not heard: it stays its node's", async () => {
  const site = await siteOf("n2", 60);
  const block = await readBlock(lender, CIDR);
  if (!block || block === "corrupt") throw new Error("it was just claimed");
  const terms = { now: after(0)(), cooldownSeconds: 0, barred: () => false };
  const given = assign(block.spec, { handle: "h", attributes: { node: "n1" } }, terms);
  await updateBlock(lender, given!.block, block.revision); // four are free
  expect(await takeEmpty(site, { pools: all, all })).toBeUndefined();
  expect(await owners()).toEqual(["n1 confirmed"]);
});

test("one's own is not taken, whatever it is that cannot be given of it", async () => {
  expect(await takeEmpty(await siteOf("n1", 60), { pools: all, all })).toBeUndefined();
  expect(await owners()).toEqual(["n1 confirmed"]);
});
