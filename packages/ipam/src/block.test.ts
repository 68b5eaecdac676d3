import { describe, expect, test } from "@jest/globals";
import { formatAddress, parseAddress, parsePrefix } from "@margay/net";
import {
  assign,
  type Block,
  claim,
  disown,
  freeCount,
  type Held,
  heldBy,
  newBlock,
  release,
} from "./block.ts";

const NOON = new Date("2026-11-22T12:00:00.000Z");
const owner = (handle: string) => ({ handle, attributes: { node: "n1" } });
const empty = (cidr: string): Block => newBlock(parsePrefix(cidr), "n1", NOON);
const text = (held: readonly Held[]) => held.map(({ address }) => formatAddress(address));

/** Applies "+a" (assign to handle a) and "-a" (release handle a); gives the addresses assigned, in order. */
function play(cidr: string, script: string): { block: Block; given: string[] } {
  let block = empty(cidr);
  const given: string[] = [];
  for (const word of script.split(" ")) {
    const handle = word.slice(1);
    if (word.startsWith("-")) block = release(block, (a) => a.handle === handle).block;
    else {
      const out = assign(block, owner(handle));
      given.push(out ? formatAddress(out.held.address) : "full");
      block = out?.block ?? block;
    }
  }
  return { block, given };
}

describe("assign", () => {
  test.each<[why: string, cidr: string, script: string, given: string[]]>([
    [
      "first and last address are used too",
      "10.0.0.0/30",
      "+a +b +c +d",
      ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3"],
    ],
    ["a full block gives nothing", "10.0.0.0/31", "+a +b +c", ["10.0.0.0", "10.0.0.1", "full"]],
    [
      "a freed address comes back only after the never-used ones",
      "10.0.0.0/30",
      "+a -a +b +c +d +e",
      ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.0"],
    ],
    [
      "freed addresses come back longest free first",
      "10.0.0.0/31",
      "+a +b -b -a +c +d",
      ["10.0.0.0", "10.0.0.1", "10.0.0.1", "10.0.0.0"],
    ],
    ["IPv6", "fd00:10:244::40/127", "+a +b", ["fd00:10:244::40", "fd00:10:244::41"]],
    ["a block of one", "10.0.0.7/32", "+a +b -a +c", ["10.0.0.7", "full", "10.0.0.7"]],
  ])("%s", (_why, cidr, script, given) => {
    expect(play(cidr, script).given).toEqual(given);
  });

  test("the block's value says who, since when, and what comes next", () => {
    expect(play("10.0.0.0/30", "+a +b -a +c").block).toEqual({
      cidr: "10.0.0.0/30",
      affinity: "host:n1",
      affinityClaimTime: "2026-11-22T12:00:00.000Z",
      sequenceNumber: 1795348800000004,
      allocations: {
        "1": { handle: "b", sequence: 1795348800000002, attributes: { node: "n1" } },
        "2": { handle: "c", sequence: 1795348800000004, attributes: { node: "n1" } },
      },
      unallocated: [0],
    });
  });

  test("the block given is never changed", () => {
    const block = Object.freeze({ ...empty("10.0.0.0/30"), allocations: Object.freeze({}) });
    expect(freeCount(assign(block, owner("a"))!.block)).toBe(3); // not full
    expect(freeCount(block)).toBe(4);
  });

  test("a /20 fresh from the pool is a short value", () => {
    expect(JSON.stringify(empty("10.0.0.0/20")).length).toBeLessThan(200);
  });
});

describe("claim", () => {
  const { block } = play("10.0.0.0/30", "+a +b -a");

  test("a free address is given, also a freed one, which then leaves the queue", () => {
    const out = claim(block, parseAddress("10.0.0.0"), owner("c"));
    expect(out).toMatchObject({ held: { handle: "c" }, block: { unallocated: [] } });
  });

  test("a taken address names its holder", () => {
    expect(claim(block, parseAddress("10.0.0.1"), owner("c"))).toMatchObject({ takenBy: { handle: "b" } });
  });
});

describe("release", () => {
  test("what is not there releases nothing and changes nothing", () => {
    const { block } = play("10.0.0.0/30", "+a");
    expect(release(block, () => false)).toEqual({ block, released: [] });
    expect(release(block, () => false).block).toBe(block);
  });

  test("all of a handle's addresses go at once, with the sequence numbers they had", () => {
    const { block } = play("10.0.0.0/30", "+a +b +a");
    const { released } = release(block, (a) => a.handle === "a");
    expect(text(released)).toEqual(["10.0.0.0", "10.0.0.2"]);
    expect(released.map(({ sequence }) => sequence)).toEqual([1795348800000001, 1795348800000003]);
  });

  test("an address released and given again has another sequence number", () => {
    const before = heldBy(play("10.0.0.0/32", "+a").block, "a");
    const after = heldBy(play("10.0.0.0/32", "+a -a +a").block, "a");
    expect([before[0]?.sequence, after[0]?.sequence]).toEqual([1795348800000001, 1795348800000003]);
  });

  test("a disowned block keeps its addresses and has no owner", () => {
    const block = disown(play("10.0.0.0/30", "+a").block);
    expect(block.affinity).toBeUndefined();
    expect(text(heldBy(block, "a"))).toEqual(["10.0.0.0"]);
  });
});
