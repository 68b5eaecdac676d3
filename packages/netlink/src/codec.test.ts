import { expect, test } from "@jest/globals";
import { parseAddress, parsePrefix, prefixOf } from "@margay/net";
import fc from "fast-check";
import { newAddress, readAddress } from "./address.ts";
import { errnoName, NetlinkError } from "./error.ts";
import { macBytes, readLink, removeLink } from "./link.ts";
import { Encoder, flags, MalformedError, type Message, messages, type Request } from "./message.ts";
import { newNeighbour, readNeighbour } from "./neighbour.ts";
import { newNexthop, readNexthop } from "./nexthop-message.ts";
import { formatRoute, type Nexthop, type Route, sameRoute } from "./route.ts";
import { delRoute, type Names, newRoute, readRoute } from "./route-message.ts";

const interfaces = ["lo", "eth0", "cali1"];
const names: Names = {
  index: (name) => {
    const at = interfaces.indexOf(name);
    return at < 0 ? undefined : at + 1;
  },
  name: (index) => interfaces[index - 1],
};
const bytes = (request: Request): Uint8Array => {
  const e = new Encoder();
  e.message(request, 7);
  return e.view();
};
const hex = (request: Request): string => Buffer.from(bytes(request)).toString("hex");
const viewOf = (b: Uint8Array) => new DataView(b.buffer, b.byteOffset, b.byteLength);
const decoded = (request: Request): Message => [...messages(viewOf(bytes(request)))][0] as Message; // just encoded
const route = (dst: string, rest: Partial<Route> = {}): Route => ({
  dst: parsePrefix(dst),
  protocol: 142,
  type: "unicast",
  nexthops: [],
  ...rest,
});

test("a route by a gateway is these bytes", () => {
  const r = route("10.244.1.0/26", { nexthops: [{ via: parseAddress("172.20.0.12"), dev: "eth0" }] });
  expect(hex(newRoute(r, names, flags.create | flags.exclusive))).toBe(
    [
      "3c000000" + "1800" + "0106" + "07000000" + "00000000", // length 60, RTM_NEWROUTE, request|create|excl, seq 7
      "021a0000" + "fe8e0001" + "00000000", // AF_INET /26, table main, protocol 142, scope global, unicast
      "08000100" + "0af40100", // RTA_DST
      "08000f00" + "fe000000", // RTA_TABLE
      "08000400" + "02000000", // RTA_OIF 2
      "08000500" + "ac14000c", // RTA_GATEWAY
    ].join(""),
  );
});

test("a delete names destination, table, metric and protocol, and nothing else", () => {
  expect(hex(delRoute(route("10.0.0.7/32", { metric: 5, nexthops: [{ dev: "eth0" }] })))).toBe(
    [
      "34000000" + "1900" + "0100" + "07000000" + "00000000",
      "02200000" + "fe8eff00" + "00000000", // scope nowhere and type 0: any
      "08000100" + "0a000007",
      "08000f00" + "fe000000",
      "08000600" + "05000000",
    ].join(""),
  );
});

test("a name's padding is not part of its length", () => {
  const name = ["09000300", "6272303000000000"]; // length 9 with the NUL, three bytes of padding
  expect(hex(removeLink("br00"))).toContain(name.join(""));
});

test.each<[string, Route, Route, boolean]>([
  [
    "the main table and IPv4 scope link are defaults",
    route("10.0.0.1/32", { nexthops: [{ dev: "a" }] }),
    route("10.0.0.1/32", { table: 254, scope: "link", nexthops: [{ dev: "a" }] }),
    true,
  ],
  [
    "IPv6 metric 0 is 1024",
    route("fd00::/64", { type: "blackhole" }),
    route("fd00::/64", { type: "blackhole", metric: 1024 }),
    true,
  ],
  [
    "nexthops have no order",
    route("10.0.0.0/8", { nexthops: [{ dev: "a" }, { dev: "b", weight: 2 }] }),
    route("10.0.0.0/8", { nexthops: [{ dev: "b", weight: 2 }, { dev: "a" }] }),
    true,
  ],
  [
    "but weights count",
    route("10.0.0.0/8", { nexthops: [{ dev: "a" }, { dev: "b", weight: 2 }] }),
    route("10.0.0.0/8", { nexthops: [{ dev: "a", weight: 2 }, { dev: "b" }] }),
    false,
  ],
  [
    "and so does a nexthop twice against two",
    route("10.0.0.0/8", { nexthops: [{ dev: "a" }, { dev: "a" }] }),
    route("10.0.0.0/8", { nexthops: [{ dev: "a" }, { dev: "b" }] }),
    false,
  ],
  [
    "another protocol is another owner",
    route("10.0.0.0/8", { type: "blackhole" }),
    route("10.0.0.0/8", { type: "blackhole", protocol: 4 }),
    false,
  ],
])("sameRoute: %s", (_why, a, b, same) => {
  expect([sameRoute(a, b), sameRoute(b, a)]).toEqual([same, same]);
});

const address4 = fc.nat(0xffffffff).map((n) => ({ family: 4 as const, bits: BigInt(n) }));
const address6 = fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }).map((bits) => ({ family: 6 as const, bits }));
const nexthops = (via: fc.Arbitrary<Nexthop["via"]>): fc.Arbitrary<Nexthop[]> =>
  fc.uniqueArray(
    fc.record(
      {
        via,
        dev: fc.constantFrom(...interfaces),
        weight: fc.integer({ min: 2, max: 256 }),
        onlink: fc.constant(true),
      },
      { requiredKeys: ["dev"] },
    ) as fc.Arbitrary<Nexthop>, // an absent key is absent, not undefined
    { minLength: 1, maxLength: 4, selector: (n) => n.dev },
  );
const anyRoute: fc.Arbitrary<Route> = fc.oneof(address4, address6).chain((a) =>
  fc.record({
    dst: fc.nat(a.family === 4 ? 32 : 128).map((length) => prefixOf(a, length)),
    table: fc.integer({ min: 1, max: 0x7fffffff }),
    protocol: fc.nat(255),
    type: fc.constant("unicast" as const),
    metric: fc.integer({ min: 1, max: 0x7fffffff }),
    nexthops: nexthops(a.family === 4 ? fc.oneof(address4, address6) : address6).map((hops) =>
      hops.length === 1 ? hops.map(({ weight: _, ...hop }) => hop) : hops,
    ),
  }),
);

test("a route survives encoding and decoding", () => {
  fc.assert(
    fc.property(anyRoute, (r) => {
      const back = readRoute(decoded(newRoute(r, names, 0)), names);
      expect(back && { same: sameRoute(back, r), text: formatRoute(back) }).toEqual({
        same: true,
        text: formatRoute(r),
      });
    }),
  );
});

test("a route that leans on an object names it, and no next hop", () => {
  fc.assert(
    fc.property(anyRoute, fc.integer({ min: 1, max: 0xffff_ffff }), (r, nhid) => {
      const back = readRoute(decoded(newRoute({ ...r, nhid }, names, 0)), names);
      expect([back?.nhid, back?.nexthops]).toEqual([nhid, [{}]]);
    }),
  );
});

test("nexthop objects survive encoding and decoding", () => {
  const id = fc.integer({ min: 1, max: 0xffff_ffff });
  const hop = fc.oneof(address4, address6).chain((via) => nexthops(fc.constant(via)));
  const group = fc.array(fc.record({ id, weight: fc.integer({ min: 1, max: 256 }) }), { maxLength: 16 });
  fc.assert(
    fc.property(id, fc.nat(255), hop, group, (id, protocol, [hop = {}], group) => {
      const { weight: _, ...single } = hop;
      for (const object of [
        { id, protocol, hop: single },
        { id, protocol, group },
      ])
        expect(readNexthop(decoded(newNexthop(object, names, 0)), names)).toEqual(object);
    }),
  );
});

test("addresses and neighbours survive encoding and decoding", () => {
  fc.assert(
    fc.property(fc.oneof(address4, address6), fc.nat(32), fc.boolean(), (address, length, nodad) => {
      const a = { address, length, scope: "global" as const, ...(nodad && { nodad }) };
      expect(readAddress(decoded(newAddress(a, "eth0", 2)))).toEqual({ index: 2, ...a });
      const n = { address, mac: "02:00:00:00:00:07", state: "permanent" as const };
      expect(readNeighbour(decoded(newNeighbour(n, "eth0", 2)))).toEqual({ index: 2, ...n });
    }),
  );
});

const readers = [readRoute, readLink, readAddress, readNeighbour, readNexthop].map(
  (read) => (message: Message) => read(message, names),
);

test("whatever bytes come, a decoder answers or throws what it says, and never reads outside", () => {
  const bodies = fc.oneof(
    fc.uint8Array({ maxLength: 120 }),
    fc
      .tuple(anyRoute, fc.array(fc.tuple(fc.nat(150), fc.nat(255)), { maxLength: 6 }), fc.nat(150))
      .map(([r, changes, length]) => corrupt(bytes(newRoute(r, names, 0)), changes, length)),
  );
  fc.assert(
    fc.property(bodies, (body) => {
      for (const read of readers)
        tolerated(() => read({ type: 24, flags: 0, sequence: 1, port: 0, body: viewOf(body) }));
      tolerated(() => [...messages(viewOf(body))].map((m) => readers.map((read) => read(m))));
    }),
    { numRuns: 2000 },
  );
});

function corrupt(good: Uint8Array, changes: readonly [number, number][], length: number): Uint8Array {
  const bad = good.slice(16, 16 + length);
  for (const [at, value] of changes) if (at < bad.length) bad[at] = value;
  return bad;
}

function tolerated(fn: () => unknown): void {
  try {
    fn();
  } catch (error) {
    if (!(error instanceof MalformedError || error instanceof RangeError)) throw error;
  }
}

test("errors bear the errno's name, the request and the best explanation", () => {
  expect([errnoName(101), errnoName(4711)]).toEqual(["ENETUNREACH", "E4711"]);
  expect(new NetlinkError("ENETUNREACH", "add route 10.0.0.0/8").message).toBe(
    "add route 10.0.0.0/8: ENETUNREACH network is unreachable",
  );
  expect(new NetlinkError("EINVAL", "add route", "Invalid prefix for given prefix length").message).toBe(
    "add route: EINVAL Invalid prefix for given prefix length",
  );
  expect(() => macBytes("02:00:00:00:00")).toThrow("not a MAC address");
});
