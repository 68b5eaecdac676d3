import { expect, test } from "@jest/globals";
import fc from "fast-check";
import { IPv4CidrRange, IPv6CidrRange } from "ip-num";
import { parsePeerIP } from "../resources/bgp-peer.ts";
import { address, cidr, interfaceAddress } from "./addresses.ts";
import { durationSeconds } from "./duration.ts";
import { parsePort } from "./ports.ts";

/** ip-num knows no dotted quads inside IPv6 addresses. */
const isHex = (text: string) => !text.includes(".");

/** ip-num, written by others, as the second answer. It takes host bits; a network is one that equals its first address. */
function isNetwork(text: string): boolean {
  try {
    const range = text.includes(":") ? IPv6CidrRange.fromCidr(text) : IPv4CidrRange.fromCidr(text);
    const [address = ""] = text.split("/");
    const first = range.getFirst();
    return (
      first.getValue() ===
      (text.includes(":") ? IPv6CidrRange : IPv4CidrRange)
        .fromCidr(`${address}/${text.includes(":") ? 128 : 32}`)
        .getFirst()
        .getValue()
    );
  } catch {
    return false;
  }
}

test("a CIDR is valid when ip-num says that it is a network", () => {
  const text = fc.oneof(
    fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 40 })),
    fc.tuple(fc.ipV6().filter(isHex), fc.integer({ min: 0, max: 130 })),
    fc.tuple(fc.constantFrom("10.0.0.0", "172.16.0.0", "0.0.0.0"), fc.integer({ min: 0, max: 33 })),
    fc.tuple(fc.constantFrom("fd00::", "2001:db8::", "::"), fc.integer({ min: 0, max: 129 })),
  );
  fc.assert(
    fc.property(text, ([address, length]) => {
      const value = `${address}/${length}`;
      expect([value, cidr().safeParse(value).success]).toEqual([value, isNetwork(value)]);
    }),
    { numRuns: 500 },
  );
});

test.each<[string, boolean]>([
  ["10.0.0.1", true],
  ["fd00::1", true],
  ["10.0.0.1/32", false],
  ["010.0.0.1", false],
  ["", false],
])("%p as an address: %s", (text, valid) => {
  expect(address().safeParse(text).success).toBe(valid);
});

test("an interface's address keeps its host bits and its family", () => {
  expect(interfaceAddress(4).safeParse("10.0.0.5/24").success).toBe(true);
  expect(interfaceAddress(4).safeParse("fd00::1/64").success).toBe(false);
});

test.each<[string, number]>([
  ["90s", 90],
  ["1m30s", 90],
  ["500ms", 0.5],
  ["1h0.5m", 3630],
  ["0", 0],
])("%s is %d seconds", (text, seconds) => {
  expect(durationSeconds(text)).toBe(seconds);
});

test.each<[string, ReturnType<typeof parsePeerIP>]>([
  ["10.0.0.1", { address: "10.0.0.1" }],
  ["10.0.0.1:1790", { address: "10.0.0.1", port: 1790 }],
  ["fd00::1", { address: "fd00::1" }],
  ["[fd00::1]", { address: "fd00::1" }],
  ["[fd00::1]:1790", { address: "fd00::1", port: 1790 }],
  ["[fd00::1]:65536", undefined],
  ["10.0.0.1:", undefined],
  ["tor:179", undefined],
  ["[10.0.0.1", undefined],
  ["", undefined],
])("the peer %p", (text, expected) => {
  expect(parsePeerIP(text)).toEqual(expected);
});

test.each<[string | number, ReturnType<typeof parsePort>]>([
  [80, { kind: "range", low: 80, high: 80 }],
  ["80", { kind: "range", low: 80, high: 80 }],
  ["8000:8080", { kind: "range", low: 8000, high: 8080 }],
  [0, { kind: "range", low: 0, high: 0 }],
  ["http", { kind: "named", name: "http" }],
  ["http-2", { kind: "named", name: "http-2" }],
  [65536, undefined],
  ["2:1", undefined],
  ["1:2:3", undefined],
  ["a b", undefined],
  [1.5, undefined],
  [-1, undefined],
])("the port %p", (value, expected) => {
  expect(parsePort(value)).toEqual(expected);
});
