import { describe, expect, test } from "@jest/globals";
import { formatAddress, parseAddress, Writer } from "@margay/net";
import fc from "fast-check";
import { DnsError, readDnsAnswer } from "./message.ts";
import { answer, datagram, query, type TestRecord } from "./testing/wire.ts";

const one = parseAddress("192.0.2.1");
const asked = { domain: "www.example.com", family: 4 } as const;
const a = (owner: string, text = "192.0.2.1", ttl = 60): TestRecord => ({
  ...{ owner, ttl, data: parseAddress(text) },
});

const read = (records: readonly TestRecord[], ask: { domain: string; family: 4 | 6 } = asked) => {
  const { domain, addresses } = readDnsAnswer(datagram(4, answer(ask, records)));
  return [domain, ...addresses.map(({ address, ttlSeconds }) => `${formatAddress(address)} ${ttlSeconds}`)];
};

describe("what an answer says of the domain that was asked for", () => {
  test.each<[why: string, records: readonly TestRecord[], addresses: readonly string[]]>([
    ["its address, and how long it is good", [a("www.example.com")], ["192.0.2.1 60"]],
    [
      "several, of either family",
      [a("www.example.com"), a("www.example.com", "2001:db8::1", 5)],
      ["192.0.2.1 60", "2001:db8::1 5"],
    ],
    [
      "behind aliases, no longer than any of them",
      [
        { owner: "www.example.com", data: "cdn.example.net", ttl: 9 },
        { owner: "cdn.example.net", data: "x.example.net", ttl: 30 },
        a("x.example.net"),
      ],
      ["192.0.2.1 9"],
    ],
    [
      "aliases in any order",
      [a("x.example.net"), { owner: "www.example.com", data: "x.example.net" }],
      ["192.0.2.1 60"],
    ],
    ["not what nobody asked for", [a("bank.example"), a("www.example.com", "192.0.2.2")], ["192.0.2.2 60"]],
    [
      "not beside an alias that leads elsewhere",
      [{ owner: "www.example.com", data: "x.example.net" }, a("bank.example")],
      [],
    ],
    [
      "nothing of aliases in a circle",
      [
        { owner: "www.example.com", data: "b.example" },
        { owner: "b.example", data: "www.example.com" },
      ],
      [],
    ],
    [
      "a time to live with the highest bit is none (RFC 2181 §8)",
      [a("www.example.com", "192.0.2.1", 2 ** 31)],
      ["192.0.2.1 0"],
    ],
    ["names are compared without case", [a("WWW.Example.COM")], ["192.0.2.1 60"]],
  ])("%s", (_why, records, addresses) => {
    expect(read(records)).toEqual(["www.example.com", ...addresses]);
  });

  test("a domain is in lower case", () => {
    expect(read([a("X.Example")], { domain: "X.Example", family: 4 })).toEqual(["x.example", "192.0.2.1 60"]);
  });

  test("in IPv6 as in IPv4, and IPv4 with options", () => {
    const message = answer(asked, [a("www.example.com")]);
    const [four, six] = [datagram(4, message), datagram(6, message)];
    const asker = { 4: parseAddress("10.244.0.7"), 6: parseAddress("fd00::7") };
    four.set(new Writer().address(asker[4]).done(), 16);
    six.set(new Writer().address(asker[6]).done(), 24);
    const withOptions = new Writer()
      .u8(0x46)
      .bytes(four.subarray(1, 20))
      .u32(0x01010101)
      .bytes(four.subarray(20))
      .done();
    for (const [packet, family] of [
      [four, 4],
      [six, 6],
      [withOptions, 4],
    ] as const)
      expect(readDnsAnswer(packet)).toMatchObject({
        addresses: [{ address: one, ttlSeconds: 60 }],
        asker: asker[family],
      });
  });

  test.each([
    ["best effort", 0],
    ["expedited forwarding", 0xb8],
    ["network control", 0xe0],
    ["every bit", 0xff],
  ])("IPv6's traffic class is no length of a header: %s", (_which, trafficClass) => {
    const packet = datagram(6, answer(asked, [a("www.example.com")]));
    packet.set([0x60 | (trafficClass >> 4), (trafficClass & 0xf) << 4]);
    expect(readDnsAnswer(packet).addresses).toEqual([{ address: one, ttlSeconds: 60 }]);
  });
});

/** The answer with its name's label replaced, byte by byte. */
const withBytes = (at: number, ...bytes: number[]) => {
  const message = answer(asked, [a("www.example.com")]);
  message.set(bytes, at);
  return datagram(4, message);
};

describe("what is no such answer is refused by its kind", () => {
  const good = datagram(4, answer(asked, [a("www.example.com")]));
  test.each<[why: string, packet: Uint8Array, code: DnsError["code"]]>([
    ["nothing", new Uint8Array(), "short"],
    ["a record that ends too soon", good.subarray(0, good.length - 1), "short"],
    ["a query", datagram(4, query(asked, 1)), "not-an-answer"],
    ["two questions", withBytes(4, 0, 2), "not-an-answer"],
    ["more records than a datagram has", withBytes(6, 255, 255), "too-many-records"],
    ["TCP", good.with(9, 6), "not-udp"],
    ["no IP", good.with(0, 0), "not-udp"],
    ["a dot within a label: it would read as two", withBytes(14, 0x2e), "bad-name"],
    ["a pointer to itself", withBytes(12, 0xc0, 12), "bad-name"],
    ["a label of a kind that nobody uses", withBytes(12, 0x80), "bad-name"],
  ])("%s", (_why, packet, code) => {
    expect(() => readDnsAnswer(packet)).toThrow(expect.objectContaining({ name: "DnsError", code }));
  });

  test("a name longer than any is refused", () => {
    const domain = Array.from({ length: 5 }, () => "x".repeat(60)).join(".");
    const packet = datagram(4, answer({ domain, family: 4 }, []));
    expect(() => readDnsAnswer(packet)).toThrow(expect.objectContaining({ code: "bad-name" }));
  });

  test("a refusal of the server tells no address", () => {
    const nxdomain = withBytes(3, 0x83);
    expect(readDnsAnswer(nxdomain).addresses).toEqual([]);
  });
});

test("whatever comes, it answers or throws a DnsError", () => {
  const message = answer(asked, [
    { owner: "www.example.com", data: "cdn.example.net" },
    a("cdn.example.net"),
    a("cdn.example.net", "2001:db8::1"),
  ]);
  const changed = fc
    .tuple(
      fc.constantFrom(4 as const, 6 as const),
      fc.array(fc.tuple(fc.nat(message.length - 1), fc.nat(255))),
    )
    .map(([family, edits]) => {
      const bytes = message.slice();
      for (const [at, byte] of edits) bytes[at] = byte;
      return datagram(family, bytes);
    });
  const cut = fc.tuple(changed, fc.nat(200)).map(([packet, length]) => packet.subarray(0, length));
  const seen = { read: 0, refused: 0 };
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 300 }), changed, cut), (packet) => {
      try {
        readDnsAnswer(packet);
        seen.read++;
      } catch (error) {
        expect(error).toBeInstanceOf(DnsError);
        seen.refused++;
      }
    }),
    { numRuns: 5000 },
  );
  expect(Math.min(seen.read, seen.refused)).toBeGreaterThan(100);
});
