import { describe, expect, test } from "@jest/globals";
import { formatPrefix, parseAddress, parsePrefix } from "@margay/net";
import type { Attributes } from "../wire/attributes.ts";
import { Framer } from "../wire/framer.ts";
import { readMessage } from "../wire/message.ts";
import { type Nlri, prefixesOf } from "../wire/nlri.ts";
import type { Route, Source } from "./path.ts";
import { PrefixTable } from "./prefix-table.ts";
import { UpdateGroup } from "./update-group.ts";

const source = (n: number): Source => ({
  kind: "ibgp",
  name: `n${n}`,
  as: 64512,
  bgpId: n,
  address: parseAddress(`10.0.0.${n}`),
  client: false,
});
const [feeder, peer, other] = [source(1), source(2), source(3)];
const attributes: Attributes = {
  origin: "igp",
  asPath: [],
  nextHop: { address: parseAddress("10.0.0.1") },
};
const path: Route = { source: feeder, received: attributes, attributes };

const prefixes = new PrefixTable(4);
const id = (text: string) => prefixes.add(parsePrefix(text));

/** A group that tells prefixes which `says` allows. */
const groupOf = (says: (prefix: string) => boolean, mayEnd = () => true) =>
  new UpdateGroup({
    prefixes,
    write: { as4: true, internal: true },
    exportRoute: (n) => (says(formatPrefix(prefixes.prefix(n))) ? attributes : undefined),
    mayEnd,
  });

/** What the member hears, in order: `+10.1.0.0/16`, `-10.1.0.0/16`, `end-of-rib`, `begin`, `end`. */
function heard(group: UpdateGroup, member: Source): string[] {
  const out: string[] = [];
  const list = (sign: string, nlri: Nlri) =>
    out.push(...[...prefixesOf(nlri)].map((p) => sign + formatPrefix(p)));
  while (group.pending)
    for (const { bytes, to } of group.drain(() => true)) {
      if (!to.includes(member)) continue;
      for (const frame of new Framer().push(bytes)) {
        const message = readMessage(frame, { as4: true, internal: true, families: [4, 6] });
        if (message.kind === "route-refresh") out.push(message.subtype === 1 ? "begin" : "end");
        if (message.kind !== "update") continue;
        for (const nlri of message.withdrawn) list("-", nlri);
        for (const { nlri } of message.announced) list("+", nlri);
        if (message.endOfRib) out.push("end-of-rib");
      }
    }
  return out;
}

test("the size for a member: without what came from itself, or goes to nobody", () => {
  const group = groupOf((prefix) => prefix !== "10.3.0.0/16");
  for (const [i, from] of [feeder, peer, peer].entries())
    group.put(id(`10.${i + 1}.0.0/16`), { ...path, source: from });
  expect([feeder, peer, { ...peer }].map((member) => group.sizeFor(member))).toEqual([1, 1, 2]);
  group.put(id("10.2.0.0/16"), path);
  expect([feeder, peer].map((member) => group.sizeFor(member))).toEqual([0, 2]);
  group.put(id("10.2.0.0/16"), undefined);
  expect([feeder, peer].map((member) => group.sizeFor(member))).toEqual([0, 1]);
});

describe("route refresh", () => {
  test("RFC 2918 §4 everything again, without End-of-RIB", () => {
    const group = groupOf(() => true);
    group.put(id("10.1.0.0/16"), path);
    group.join(peer, { endOfRib: true });
    expect(heard(group, peer)).toEqual(["+10.1.0.0/16", "end-of-rib"]);
    group.refresh(peer, { marked: false });
    expect(heard(group, peer)).toEqual(["+10.1.0.0/16"]);
  });

  test("RFC 7313 §4 between the marks, for who asked alone", () => {
    const group = groupOf(() => true);
    group.put(id("10.1.0.0/16"), path);
    for (const member of [peer, other]) group.join(member, { endOfRib: true });
    heard(group, peer);
    group.refresh(peer, { marked: true });
    expect(heard(group, peer)).toEqual(["begin", "+10.1.0.0/16", "end"]);
    group.refresh(peer, { marked: true });
    expect(heard(group, other)).toEqual([]);
  });

  test("RFC 7313 §4 an empty table has both marks too", () => {
    const group = groupOf(() => true);
    group.join(peer, { endOfRib: true });
    heard(group, peer);
    group.refresh(peer, { marked: true });
    expect(heard(group, peer)).toEqual(["begin", "end"]);
  });

  test("RFC 7313 §4 no marks before the first End-of-RIB, which is still said", () => {
    const group = groupOf(() => true);
    group.put(id("10.1.0.0/16"), path);
    group.join(peer, { endOfRib: true });
    group.refresh(peer, { marked: true });
    expect(heard(group, peer)).toEqual(["+10.1.0.0/16", "end-of-rib"]);
  });
});

describe("a member moves to another group: its policy changed, its session stays", () => {
  const texts = ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"];
  const filled = (says: (prefix: string) => boolean) => {
    const group = groupOf(says);
    for (const text of texts) group.put(id(text), path);
    return group;
  };

  test("what only the old one said is withdrawn, what the new one says is announced, no End-of-RIB again", () => {
    const before = filled((p) => p !== "10.3.0.0/16");
    before.join(peer, { endOfRib: true });
    heard(before, peer);
    const after = filled((p) => p !== "10.1.0.0/16");
    after.adopt(peer, before);
    expect(heard(after, peer)).toEqual(["-10.1.0.0/16", "+10.2.0.0/16", "+10.3.0.0/16"]);
    expect([before.members, after.members]).toEqual([[], [peer]]);
  });

  test("a withdrawal that the old one still owed is not lost", () => {
    const before = filled(() => true);
    before.join(peer, { endOfRib: true });
    heard(before, peer);
    before.put(id("10.2.0.0/16"), undefined);
    const after = groupOf(() => true);
    after.put(id("10.1.0.0/16"), path);
    after.put(id("10.3.0.0/16"), path);
    after.adopt(peer, before);
    expect(heard(after, peer)).toEqual(["-10.2.0.0/16", "+10.1.0.0/16", "+10.3.0.0/16"]);
  });

  test("moved twice before it was told anything", () => {
    const first = filled(() => true);
    first.join(peer, { endOfRib: true });
    heard(first, peer);
    const second = filled((p) => p === "10.1.0.0/16");
    second.adopt(peer, first);
    const third = filled((p) => p === "10.2.0.0/16");
    third.adopt(peer, second);
    expect(heard(third, peer)).toEqual(["-10.1.0.0/16", "-10.3.0.0/16", "+10.2.0.0/16"]);
  });

  test("an End-of-RIB that the old one owed is said by the new one", () => {
    const before = filled(() => true);
    before.join(peer, { endOfRib: true });
    const after = filled(() => true);
    after.adopt(peer, before);
    expect(heard(after, peer).at(-1)).toBe("end-of-rib");
  });
});
