import { expect, test } from "@jest/globals";
import fc from "fast-check";
import { IPv4CidrRange } from "ip-num";
import { formatAddress, parseAddress, width } from "./address.ts";
import { Lpm } from "./lpm.ts";
import {
  comparePrefix,
  contains,
  formatPrefix,
  isPlainHost,
  overlaps,
  type Prefix,
  parsePrefix,
  prefixOf,
  prefixSize,
  subnets,
} from "./prefix.ts";

const prefix4: fc.Arbitrary<Prefix> = fc
  .tuple(fc.nat(0xffffffff), fc.nat(32))
  .map(([bits, length]) => prefixOf({ family: 4, bits: BigInt(bits) }, length));
/** Few bits, so that nesting is common. */
const nested: fc.Arbitrary<Prefix> = fc
  .tuple(fc.nat(15), fc.nat(4), fc.constantFrom(4 as const, 6 as const))
  .map(([bits, length, family]) =>
    prefixOf({ family, bits: BigInt(bits) << (family === 4 ? 28n : 124n) }, length),
  );

test.each<[string, string, string]>([
  ["a network", "10.244.0.0/16", "10.244.0.0/16"],
  ["a bare address is a host prefix", "10.0.0.1", "10.0.0.1/32"],
  ["a bare IPv6 address too", "fd00::1", "fd00::1/128"],
  ["everything", "0.0.0.0/0", "0.0.0.0/0"],
])("%s", (_why, text, canonical) => {
  expect(formatPrefix(parsePrefix(text))).toBe(canonical);
});

test.each([
  ["10.0.0.1/24", "host bits set; the network is 10.0.0.0/24"],
  ["10.0.0.0/33", "prefix length must be 0 to 32"],
  ["fd00::/129", "prefix length must be 0 to 128"],
  ["10.0.0.0/", "prefix length must be 0 to 32"],
])("%j is refused and the message says what would do: %s", (text, why) => {
  expect(() => parsePrefix(text)).toThrow(why);
});

test("host bits are masked only when asked", () => {
  expect(formatPrefix(parsePrefix("10.0.0.1/24", { mask: true }))).toBe("10.0.0.0/24");
});

test("contains agrees with ip-num's slow answer", () => {
  fc.assert(
    fc.property(prefix4, prefix4, (a, b) => {
      const range = (p: Prefix) => IPv4CidrRange.fromCidr(formatPrefix(p));
      expect(contains(a, b)).toBe(range(a).isEquals(range(b)) || range(a).contains(range(b)));
    }),
    { numRuns: 300 },
  );
});

test("a family never contains or overlaps the other", () => {
  const [all4, all6] = [parsePrefix("0.0.0.0/0"), parsePrefix("::/0")];
  expect(overlaps(all4, all6)).toBe(false);
  expect(contains(all6, parseAddress("10.0.0.1"))).toBe(false);
});

test("a /24 has four /26 in address order", () => {
  expect([...subnets(parsePrefix("10.0.0.0/24"), 26)].map(formatPrefix)).toEqual([
    "10.0.0.0/26",
    "10.0.0.64/26",
    "10.0.0.128/26",
    "10.0.0.192/26",
  ]);
  expect(prefixSize(parsePrefix("10.0.0.0/26"))).toBe(64n);
});

test("the trie answers as a linear search does, whatever was added and deleted", () => {
  const operations = fc.array(fc.tuple(fc.boolean(), nested), { maxLength: 40 });
  fc.assert(
    fc.property(operations, nested, (ops, target) => {
      const trie = new Lpm<number>();
      const list = new Map<string, { prefix: Prefix; value: number }>();
      for (const [i, [add, prefix]] of ops.entries()) {
        const key = formatPrefix(prefix);
        if (add) trie.set(prefix, i);
        if (add) list.set(key, { prefix, value: i });
        else expect(trie.delete(prefix)).toBe(list.delete(key));
      }
      const covering = [...list.values()].filter((e) => contains(e.prefix, target));
      expect(trie.match(target)).toEqual(covering.sort((a, b) => b.prefix.length - a.prefix.length)[0]);
      expect(trie.size).toBe(list.size);
      const ordered = [...list.values()].sort((a, b) => comparePrefix(a.prefix, b.prefix));
      expect([...trie.entries()].sort((a, b) => comparePrefix(a.prefix, b.prefix))).toEqual(ordered);
    }),
  );
});

test("the trie finds the /32 before the block and the block before the default", () => {
  const trie = new Lpm<string>();
  for (const text of ["0.0.0.0/0", "10.244.0.0/26", "10.244.0.7/32"]) trie.set(parsePrefix(text), text);
  const answer = (text: string) => trie.match(parseAddress(text))?.value;
  expect([answer("10.244.0.7"), answer("10.244.0.8"), answer("192.0.2.1")]).toEqual([
    "10.244.0.7/32",
    "10.244.0.0/26",
    "0.0.0.0/0",
  ]);
  expect(formatAddress(parseAddress("10.244.0.7"))).toBe("10.244.0.7");
});

const group = fc.constantFrom("0", "1", "a0", "ff", "2001", "0db8", "FD00", "00", "g");
const octet = fc.constantFrom("0", "9", "10", "255", "256", "01");
const host = fc.oneof(
  fc.tuple(
    fc.constant("."),
    fc.array(octet, { minLength: 3, maxLength: 5 }),
    fc.constantFrom("", "/32", "/31"),
  ),
  fc.tuple(
    fc.constant(":"),
    fc.array(fc.oneof(group, fc.constant("")), { minLength: 2, maxLength: 9 }),
    fc.constantFrom("", "/128", "/64"),
  ),
);

test("what is a plain host at a glance is an address as it is written here", () => {
  let plain = 0;
  fc.assert(
    fc.property(host, ([by, parts, length]) => {
      const text = parts.join(by) + length;
      if (!isPlainHost(text)) return;
      plain++;
      const prefix = parsePrefix(text);
      expect([prefix.length, formatAddress(prefix)]).toEqual([width(prefix.family), text.split("/")[0]]);
    }),
    { numRuns: 20_000 },
  );
  expect(plain).toBeGreaterThan(100);
});

test.each(["10.244.0.1", "10.244.0.1/32", "fd00:10:244::1f/128", "::", "2001:db8::1"])(
  "%s is one",
  (text) => {
    expect(isPlainHost(text)).toBe(true);
  },
);
