import { expect, test } from "@jest/globals";
import fc from "fast-check";
import { IPv4, IPv6 } from "ip-num";
import {
  type Address,
  addressFromBytes,
  addressToBytes,
  compareAddress,
  type Family,
  formatAddress,
  NetError,
  offset,
  parseAddress,
  sameAddress,
} from "./address.ts";

const address = (family: Family): fc.Arbitrary<Address> =>
  fc.bigInt({ min: 0n, max: (1n << (family === 4 ? 32n : 128n)) - 1n }).map((bits) => ({ family, bits }));
/** Addresses with runs of zero groups, where RFC 5952 has its rules. */
const sparse6: fc.Arbitrary<Address> = fc
  .array(fc.constantFrom<bigint[]>(0n, 0n, 1n, 0xabcdn), { minLength: 8, maxLength: 8 })
  .map((groups) => ({ family: 6, bits: groups.reduce<bigint>((bits, g) => (bits << 16n) | g, 0n) }));

test.each<[string, string, string]>([
  ["IPv4 is itself", "10.244.3.64", "10.244.3.64"],
  ["RFC 5952 §4.1 leading zeros go", "2001:0db8::0001", "2001:db8::1"],
  ["RFC 5952 §4.2.2 one zero group is not shortened", "2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
  ["RFC 5952 §4.2.3 the longest run is shortened", "2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
  ["RFC 5952 §4.2.3 the first of equal runs is shortened", "2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
  ["RFC 5952 §4.3 lower case", "FE80::ECEE:EEFF:FEEE:EEEE", "fe80::ecee:eeff:feee:eeee"],
  ["RFC 4291 §2.2 3 embedded IPv4", "::ffff:10.0.0.1", "::ffff:a00:1"],
  ["all zeros", "::", "::"],
])("%s", (_why, text, canonical) => {
  expect(formatAddress(parseAddress(text))).toBe(canonical);
});

test.each([
  ["", "nothing"],
  ["10.0.0", "three octets"],
  ["10.0.0.256", "an octet above 255"],
  ["010.0.0.1", "a leading zero, which some tools read as octal"],
  ["1::2::3", "two elisions"],
  ["1:2:3:4:5:6:7", "seven groups"],
  ["1:2:3:4:5:6:7:8::", "an elision of nothing"],
  ["1::2%eth0", "a zone"],
  ["10.0.0.1/24", "a prefix"],
])("%j is refused: %s", (text) => {
  expect(() => parseAddress(text)).toThrow(NetError);
});

test("text and bytes round-trip in both families", () => {
  fc.assert(
    fc.property(fc.oneof(address(4), address(6), sparse6), (a) => {
      expect(sameAddress(parseAddress(formatAddress(a)), a)).toBe(true);
      expect(addressFromBytes(addressToBytes(a))).toEqual(a);
    }),
  );
});

test("ip-num reads the same number from the same text", () => {
  fc.assert(fc.property(address(4), (a) => IPv4.fromString(formatAddress(a)).value === a.bits));
  fc.assert(fc.property(address(6), (a) => IPv6.fromString(formatAddress(a)).value === a.bits));
});

test("offset steps over octets and stops at the ends of the family", () => {
  expect(formatAddress(offset(parseAddress("10.0.0.255"), 1))).toBe("10.0.1.0");
  expect(() => offset(parseAddress("255.255.255.255"), 1)).toThrow(RangeError);
  expect(() => offset(parseAddress("::"), -1)).toThrow(RangeError);
});

test("IPv4 sorts before IPv6, then by number", () => {
  const sorted = ["fd00::1", "10.0.0.2", "10.0.0.1"]
    .map(parseAddress)
    .sort(compareAddress)
    .map(formatAddress);
  expect(sorted).toEqual(["10.0.0.1", "10.0.0.2", "fd00::1"]);
});
