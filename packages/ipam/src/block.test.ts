import { describe, expect, test } from "@jest/globals";
import { formatAddress, offset, parseAddress, parsePrefix } from "@margay/net";
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

interface Rules {
  cooldownSeconds?: number;
  barred?: number[];
}

const freeing = (at = NOON, cooldownSeconds = 0) => ({ at, cooldownSeconds, reason: "cni-del" as const });

/**
 * Applies "+a" (assign to handle a), "-a" (release handle a), "=3" (handle 3 asks for the address of ordinal 3) and ">9" (nine
 * seconds pass); gives what was assigned.
 */
function play(cidr: string, script: string, { cooldownSeconds = 0, barred = [] }: Rules = {}) {
  let [block, now] = [empty(cidr), NOON];
  const given: string[] = [];
  for (const word of script.split(" ")) {
    const rest = word.slice(1);
    if (word.startsWith(">")) now = new Date(now.getTime() + Number(rest) * 1000);
    else if (word.startsWith("=")) {
      const out = claim(block, offset(parsePrefix(cidr), Number(rest)), owner(rest));
      block = "takenBy" in out ? block : out.block;
    } else if (word.startsWith("-"))
      block = release(block, (a) => a.handle === rest, freeing(now, cooldownSeconds)).block;
    else {
      const out = assign(block, owner(rest), { now, cooldownSeconds, barred: (n) => barred.includes(n) });
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
      released: [{ ordinal: 0, handle: "a", reason: "cni-del", at: "2026-11-22T12:00:00.000Z", node: "n1" }],
    });
  });

  test("the block given is never changed", () => {
    const block = Object.freeze({ ...empty("10.0.0.0/30"), allocations: Object.freeze({}) });
    expect(
      freeCount(assign(block, owner("a"), { now: NOON, cooldownSeconds: 0, barred: () => false })!.block),
    ).toBe(3); // not full
    expect(freeCount(block)).toBe(4);
  });

  test("a /20 fresh from the pool is a short value", () => {
    expect(JSON.stringify(empty("10.0.0.0/20")).length).toBeLessThan(200);
  });
});

describe("what is not given unasked", () => {
  test.each<[why: string, script: string, rules: Rules, given: string[]]>([
    ["barred", "+a +b +c", { barred: [0, 2] }, ["10.0.0.1", "10.0.0.3", "full"]],
    ["barred, and freed by who had asked for it", "=1 -1 +a +b", { barred: [1, 2, 3] }, ["10.0.0.0", "full"]],
    [
      "freed a moment ago",
      "+a +b +c +d -a +e >59 +e >1 +e",
      { cooldownSeconds: 60 },
      ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "full", "full", "10.0.0.0"],
    ],
    [
      "the one freed first is ready first",
      "+a +b +c +d -b >30 -a >30 +e +f >30 +f",
      { cooldownSeconds: 60 },
      ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.1", "full", "10.0.0.0"],
    ],
  ])("%s", (_why, script, rules, given) => {
    expect(play("10.0.0.0/30", script, rules).given).toEqual(given);
  });

  test("a journal entry is kept as long as its address cools down, else only the last 16", () => {
    const all = Array.from({ length: 40 }, (_, i) => `h${i}`);
    const script = [...all.map((h) => `+${h}`), ...all.map((h) => `-${h}`)].join(" ");
    const journal = (rules: Rules, more = "") =>
      play("10.0.0.0/26", script + more, rules).block.released?.map(({ handle }) => handle);
    expect(journal({})).toEqual(all.slice(24));
    expect(journal({ cooldownSeconds: 60 })).toEqual(all);
    expect(journal({ cooldownSeconds: 60 }, " >60 +x -x")).toEqual([...all.slice(25), "x"]);
    const again = all.map((_, n) => `=${n}`).join(" ");
    expect(journal({ cooldownSeconds: 60 }, ` ${again} -0`)).toEqual([...all.slice(25), "0"]);
  });

  test("all that goes at once rests, however much it is", () => {
    const held = Array.from({ length: 32 }, () => "+a").join(" ");
    const { given } = play("10.0.0.0/27", `${held} -a +b`, { cooldownSeconds: 60 });
    expect(given.at(-1)).toBe("full");
  });

  test("of an address the journal has who held it last", () => {
    const { released } = play("10.0.0.0/32", "+a -a +b -b").block;
    expect(released?.map(({ handle }) => handle)).toEqual(["b"]);
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
    expect(release(block, () => false, freeing())).toEqual({ block, released: [] });
    expect(release(block, () => false, freeing()).block).toBe(block);
  });

  test("all of a handle's addresses go at once, with the sequence numbers they had", () => {
    const { block } = play("10.0.0.0/30", "+a +b +a");
    const { released } = release(block, (a) => a.handle === "a", freeing());
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
