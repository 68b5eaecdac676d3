import { describe, expect, test } from "@jest/globals";
import { formatPrefix, parseAddress, parsePrefix } from "@margay/net";
import fc from "fast-check";
import { fromHex as hex, marker, toHex } from "../testing/hex.ts";
import { mergeAs4 } from "./as-path.ts";
import { attributeTable } from "./attribute-table.ts";
import type { Attributes } from "./attributes.ts";
import { BgpError } from "./error.ts";
import { Framer, messagesIn } from "./framer.ts";
import { frame, type Message, readMessage, writeMessage } from "./message.ts";
import { countPrefixes, type Nlri, packPaths, packPrefixes, pathsOf, prefixesOf } from "./nlri.ts";
import { describeNotification } from "./notification.ts";
import { type Announcement, readUpdate, type UpdateContext } from "./update.ts";
import { writeAnnouncements, writeEndOfRib, writeWithdrawals } from "./write-update.ts";

const ctx: UpdateContext = { as4: true, internal: false, families: [4, 6] };
const inside: UpdateContext = { ...ctx, internal: true };

/** The single message of a whole frame. */
function read(text: string, context = ctx): Message {
  const frames = [...new Framer().push(hex(text))];
  expect(frames).toHaveLength(1);
  return readMessage(frames[0]!, context); // just counted
}

const plain = ({ nlri, attributes }: Announcement): Announcement => ({ nlri, attributes });

const codeOf = (act: () => unknown): string => {
  try {
    act();
  } catch (error) {
    if (error instanceof BgpError) return error.code;
    throw error;
  }
  return "no error";
};

describe("messages, hex <-> value", () => {
  test.each<[string, string, Parameters<typeof writeMessage>[0]]>([
    ["KEEPALIVE is a bare header", `${marker} 0013 04`, { kind: "keepalive" }],
    [
      "OPEN of a four-octet AS carries AS_TRANS (5ba0) in the old field",
      `${marker} 0031 01 | 04 5ba0 005a 0a000001 | 14 02 12 | 0104 00010001 | 0104 00020001 | 4104 0001869f`,
      {
        kind: "open",
        as: 99999,
        holdTimeSeconds: 90,
        bgpId: 0x0a000001,
        capabilities: { families: [4, 6], as4: 99999 },
      },
    ],
    [
      "OPEN with refresh, graceful restart (R bit, 120 s, F bit for IPv4) and enhanced refresh",
      `${marker} 003d 01 | 04 fc00 00b4 ac14000b | 20 02 1e | 0104 00010001 | 0200 | 0600 | 400a 8078 00010180 00020100 | 4104 0000fc00 | 4600`,
      {
        kind: "open",
        as: 64512,
        holdTimeSeconds: 180,
        bgpId: 0xac14000b,
        capabilities: {
          families: [4],
          as4: 64512,
          routeRefresh: true,
          extendedMessage: true,
          enhancedRouteRefresh: true,
          gracefulRestart: {
            restarting: true,
            restartTimeSeconds: 120,
            families: [
              { family: 4, forwarding: true },
              { family: 6, forwarding: false },
            ],
          },
        },
      },
    ],
    [
      "RFC 8950 §4 IPv4 by way of IPv6, RFC 9234 §4.1 customer, RFC 8538 §2 N bit, RFC 9494 §3.1 one hour",
      `${marker} 003d 01 | 04 fc00 005a 0a000001 | 20 02 1e | 0104 00010001 | 0506 0001 0001 0002 | 0901 03 | 4002 4078 | 4707 0001 01 80 000e10`,
      {
        kind: "open",
        as: 64512,
        holdTimeSeconds: 90,
        bgpId: 0x0a000001,
        capabilities: {
          families: [4],
          extendedNextHop: true,
          role: "customer",
          gracefulRestart: { restarting: false, notification: true, restartTimeSeconds: 120, families: [] },
          longLived: [{ family: 4, forwarding: true, staleTimeSeconds: 3600 }],
        },
      },
    ],
    [
      "RFC 7911 §4 IPv4 both ways, IPv6 received",
      `${marker} 002f 01 | 04 fc00 005a 0a000001 | 12 02 10 | 0104 00010001 | 4508 0001 01 03 0002 01 01`,
      {
        kind: "open",
        as: 64512,
        holdTimeSeconds: 90,
        bgpId: 0x0a000001,
        capabilities: {
          families: [4],
          addPath: [
            { family: 4, receive: true, send: true },
            { family: 6, receive: true, send: false },
          ],
        },
      },
    ],
    [
      "NOTIFICATION keeps its data",
      `${marker} 0018 03 | 06 02 | 026f6b`,
      { kind: "notification", code: 6, subcode: 2, data: hex("026f6b") },
    ],
    [
      "ROUTE-REFRESH for IPv6 unicast",
      `${marker} 0017 05 | 0002 00 01`,
      { kind: "route-refresh", family: 6, subtype: 0 },
    ],
  ])("%s", (_why, text, value) => {
    expect(read(text)).toEqual(value);
    expect(toHex(writeMessage(value))).toBe(toHex(hex(text)));
  });

  test.each([
    ["length 255", "ff"],
    ["any other length but 0", "01"],
  ])("RFC 9072 §2 extended optional parameters are read: %s", (_why, length) => {
    const text = `${marker} 0029 01 | 04 fc00 005a 0a000001 | ${length} ff 0009 | 02 0006 | 4104 0000fc00`;
    expect(read(text)).toMatchObject({
      kind: "open",
      as: 64512,
      capabilities: { families: [4], as4: 64512 },
    });
  });

  test("RFC 9072 §2 what does not fit the short form goes in the extended one", () => {
    const longLived = Array.from({ length: 40 }, () => ({
      family: 4 as const,
      forwarding: true,
      staleTimeSeconds: 0x010203,
    }));
    const open = {
      kind: "open",
      as: 1,
      bgpId: 1,
      holdTimeSeconds: 90,
      capabilities: { families: [4] as const, longLived: longLived.slice(0, 36) },
    } as const;
    const bytes = writeMessage(open);
    expect([...bytes.slice(28, 30)]).toEqual([255, 255]);
    expect(read(toHex(bytes))).toEqual(open);
  });

  test("a shutdown message is shown in words (RFC 9003)", () => {
    expect(describeNotification({ kind: "notification", code: 6, subcode: 2, data: hex("026f6b") })).toBe(
      "Cease: Administrative Shutdown: ok",
    );
  });
});

describe("messages that reset the session", () => {
  test.each<[string, string, string]>([
    ["§6.1 a marker that is not all ones", `${"00".repeat(16)} 0013 04`, "connection-not-synchronized"],
    ["§6.1 a length below the header", `${marker} 0012 04`, "bad-message-length"],
    ["§6.1 a length above 4096", `${marker} 1001 02`, "bad-message-length"],
    ["§6.1 a KEEPALIVE with a body", `${marker} 0014 04 00`, "bad-message-length"],
    ["§6.1 an unknown type", `${marker} 0013 09`, "bad-message-type"],
    ["§6.2 version 3", `${marker} 001d 01 03 fc00 005a 0a000001 00`, "unsupported-version"],
    ["§6.2 hold time 2", `${marker} 001d 01 04 fc00 0002 0a000001 00`, "unacceptable-hold-time"],
    ["RFC 6286 §2.2 identifier 0", `${marker} 001d 01 04 fc00 005a 00000000 00`, "bad-bgp-identifier"],
    ["RFC 7607 AS 0", `${marker} 001d 01 04 0000 005a 0a000001 00`, "bad-peer-as"],
    [
      "§6.2 parameter 1 (authentication)",
      `${marker} 001f 01 04 fc00 005a 0a000001 02 0100`,
      "unsupported-optional-parameter",
    ],
    [
      "§6.2 parameters longer than the message",
      `${marker} 001d 01 04 fc00 005a 0a000001 05`,
      "open-unspecific",
    ],
    ["§6.3 attributes longer than the message", `${marker} 0017 02 0000 0005`, "malformed-attribute-list"],
    ["RFC 7606 §5.3 prefix length 33", `${marker} 001d 02 0000 0000 21 0a000000 00`, "invalid-network"],
    ["RFC 7606 §5.3 a prefix cut off", `${marker} 0019 02 0000 0000 18 0a`, "invalid-network"],
    [
      "§6.3 an unknown well-known attribute",
      `${marker} 001c 02 0000 0003 406300 080a`,
      "unrecognized-well-known",
    ],
    [
      "RFC 7606 §3 g MP_UNREACH twice",
      `${marker} 0023 02 0000 000c 800f03 000201 800f03 000201`,
      "malformed-attribute-list",
    ],
    ["RFC 7313 §5 ROUTE-REFRESH too long", `${marker} 0018 05 0001 00 01 00`, "refresh-length"],
  ])("%s", (_why, text, code) => {
    expect(codeOf(() => read(text))).toBe(code);
  });
});

/** An UPDATE body: attribute list and IPv4 NLRI 10.0.0.0/8. */
const body = (attributes: string, nlri = "08 0a"): Uint8Array => {
  const list = hex(attributes);
  return Uint8Array.from([0, 0, list.length >> 8, list.length & 255, ...list, ...hex(nlri)]);
};
const update = (bytes: Uint8Array, context = ctx) => readUpdate(bytes, context);
const base = "400101 00 | 40020a 0202 0000fc01 0000fc02 | 400304 0a000001";

describe("path attributes, hex <-> value", () => {
  const full: Attributes = {
    origin: "igp",
    asPath: [{ kind: "sequence", ases: [64513, 64514] }],
    nextHop: { address: parseAddress("10.0.0.1") },
  };
  test.each<[string, string, Partial<Attributes>]>([
    ["ORIGIN, AS_PATH, NEXT_HOP", "", {}],
    ["MED", "800404 00000064", { med: 100 }],
    ["LOCAL_PREF", "400504 000000c8", { localPref: 200 }],
    ["ATOMIC_AGGREGATE", "400600", { atomicAggregate: true }],
    [
      "AGGREGATOR",
      "c00708 0000fc00 0a000002",
      { aggregator: { as: 64512, address: parseAddress("10.0.0.2") } },
    ],
    ["COMMUNITIES", "c00808 ffffff01 fc000064", { communities: [0xffffff01, 0xfc000064] }],
    ["ORIGINATOR_ID", "800904 0a000003", { originatorId: 0x0a000003 }],
    ["CLUSTER_LIST", "800a08 01010101 02020202", { clusterList: [0x01010101, 0x02020202] }],
    ["EXTENDED COMMUNITIES", "c01008 0002fc0000000064", { extendedCommunities: [0x0002fc0000000064n] }],
    ["ONLY_TO_CUSTOMER", "c02304 0000fc00", { onlyToCustomer: 64512 }],
    ["LARGE_COMMUNITY", "c0200c 00000001 00000002 00000003", { largeCommunities: [[1, 2, 3]] }],
    [
      "an unknown transitive one, Partial once it has passed through us",
      "e063 02 abcd",
      { unknown: [{ type: 99, value: hex("abcd") }] },
    ],
  ])("%s", (_why, text, expected) => {
    const bytes = body(`${base} ${text}`);
    const { announced, problems } = update(bytes, inside);
    expect(problems).toEqual([]);
    expect(announced[0]?.attributes).toEqual({ ...full, ...expected });
    const written = writeAnnouncements(
      { nlri: packPrefixes(4, [parsePrefix("10.0.0.0/8")]), attributes: { ...full, ...expected } },
      inside,
    );
    expect(written.map(toHex)).toEqual([toHex(bytes)]);
  });

  test("a two-octet session writes AS_TRANS and AS4_PATH, and reads them back to the true path", () => {
    const attributes: Attributes = { ...full, asPath: [{ kind: "sequence", ases: [64513, 100000] }] };
    const old = { ...ctx, as4: false };
    const [written] = writeAnnouncements(
      { nlri: packPrefixes(4, [parsePrefix("10.0.0.0/8")]), attributes },
      old,
    );
    expect(toHex(written!)).toContain(toHex(hex("400206 0202 fc01 5ba0"))); // one announcement was asked for
    expect(update(written!, old).announced[0]?.attributes).toEqual(attributes);
  });

  test.each<[string, number[], number[], number[]]>([
    [
      "RFC 6793 §4.2.3 the leading ASes come from AS_PATH",
      [1, 23456, 23456],
      [100000, 200000],
      [1, 100000, 200000],
    ],
    ["a longer AS4_PATH is ignored", [23456], [100000, 200000], [23456]],
    ["an equally long one replaces all", [23456, 23456], [100000, 200000], [100000, 200000]],
    ["an old speaker prepended itself twice", [7, 7, 23456], [100000], [7, 7, 100000]],
  ])("%s", (_why, path, as4, merged) => {
    const sequence = (ases: number[]) => [{ kind: "sequence" as const, ases }];
    expect(mergeAs4(sequence(path), sequence(as4))).toEqual(sequence(merged));
  });

  test.each<[string, string, string, number | undefined, number[]]>([
    ["RFC 6793 §4.2.3 AGGREGATOR of AS_TRANS: AS4_AGGREGATOR stands", "5ba0", "0001869f", 99999, [1, 100000]],
    ["another AS: both AS4 attributes are stale", "fc00", "0001869f", 0xfc00, [1, 23456]],
  ])("%s", (_why, as, as4, aggregatorAs, path) => {
    const list = `400101 00 | 400206 0202 0001 5ba0 | 400304 0a000001 | c00706 ${as} 0a000002 | c01106 0201 000186a0 | c01208 ${as4} 0a000002`;
    const { announced } = update(body(list), { ...ctx, as4: false });
    const { aggregator, asPath } = announced[0]!.attributes; // one run of prefixes
    expect([aggregator?.as, asPath]).toEqual([aggregatorAs, [{ kind: "sequence", ases: path }]]);
  });

  test("RFC 6793 §4.2.2 confederation segments are not in AS4_PATH, and those that are do not count", () => {
    const asPath = [
      { kind: "confedSequence", ases: [65100] },
      { kind: "sequence", ases: [100000] },
    ] as const;
    const nlri = packPrefixes(4, [parsePrefix("10.0.0.0/8")]);
    const [written] = writeAnnouncements(
      { nlri, attributes: { ...full, asPath } },
      { as4: false, internal: true },
    );
    expect(toHex(written!)).toContain("c011060201000186a0"); // one announcement was asked for
    expect(mergeAs4([{ kind: "sequence", ases: [7, 23456] }], [...asPath])).toEqual([
      { kind: "sequence", ases: [7, 100000] },
    ]);
  });

  test("RFC 8950 IPv4 routes with an IPv6 next hop, both ways", () => {
    const nlri = packPrefixes(4, [parsePrefix("10.0.0.0/8"), parsePrefix("10.9.1.0/24")]);
    const nextHop = { address: parseAddress("2001:db8::1"), linkLocal: parseAddress("fe80::1") };
    const [written] = writeAnnouncements({ nlri, attributes: { ...full, nextHop } }, ctx);
    const { announced, problems } = update(written!, { ...ctx, extendedNextHop: true }); // one was asked for
    expect([announced.map(plain), problems]).toEqual([[{ nlri, attributes: { ...full, nextHop } }], []]);
  });

  test("IPv6: next hops of 16 and 32 bytes, prefixes and their withdrawal", () => {
    const nlri = packPrefixes(6, [
      parsePrefix("2001:db8::/32"),
      parsePrefix("fd00::1/128"),
      parsePrefix("::/0"),
    ]);
    for (const linkLocal of [undefined, parseAddress("fe80::1")]) {
      const nextHop = { address: parseAddress("2001:db8::1"), ...(linkLocal ? { linkLocal } : {}) };
      const [written] = writeAnnouncements({ nlri, attributes: { ...full, nextHop } }, ctx);
      const { announced } = update(written!); // one announcement was asked for
      expect(announced.map(plain)).toEqual([{ nlri, attributes: { ...full, nextHop } }]);
    }
    const [withdrawal] = writeWithdrawals(nlri);
    expect([...prefixesOf(update(withdrawal!).withdrawn[0]!)].map(formatPrefix)).toEqual([
      "2001:db8::/32",
      "fd00::1/128",
      "::/0",
    ]);
  });

  test("End-of-RIB of both families (RFC 4724 §2)", () => {
    expect(update(writeEndOfRib(4)).endOfRib).toBe(4);
    expect(toHex(writeEndOfRib(6))).toBe("00000006800f03000201");
    expect(update(writeEndOfRib(6)).endOfRib).toBe(6);
  });

  test("routes that do not fit one message go into several, none lost", () => {
    const prefixes = Array.from({ length: 3000 }, (_, i) => parsePrefix(`10.${i >> 8}.${i & 255}.0/24`));
    const written = writeAnnouncements({ nlri: packPrefixes(4, prefixes), attributes: full }, ctx);
    expect(written.every((b) => frame("update", b).length <= 4096)).toBe(true);
    expect(written.flatMap((b) => [...prefixesOf(update(b).announced[0]!.nlri)])).toEqual(prefixes);
  });
});

describe("ADD-PATH, RFC 7911 §3", () => {
  const both: UpdateContext = { ...ctx, addPath: [4, 6] };
  const paths = (nlri: Nlri) => [...pathsOf(nlri)].map((p) => `${formatPrefix(p.prefix)}#${p.pathId}`);

  test("path identifiers in IPv4 NLRI and withdrawn routes", () => {
    const { withdrawn, announced } = readUpdate(
      hex(`0006 | 00000007 08 0a | 0018 | ${base} | 00000001 10 0a01 | ffffffff 10 0a01 | 00000001 00`),
      both,
    );
    expect(withdrawn.map(paths)).toEqual([["10.0.0.0/8#7"]]);
    expect(announced.map((a) => paths(a.nlri))).toEqual([
      ["10.1.0.0/16#1", "10.1.0.0/16#4294967295", "0.0.0.0/0#1"],
    ]);
    expect(announced.map((a) => countPrefixes(a.nlri))).toEqual([3]);
  });

  test.each([4, 6] as const)("IPv%s, written and read again, in messages that are full", (family) => {
    const nlri = packPaths(
      family,
      Array.from({ length: 2000 }, (_, i) => ({
        prefix: parsePrefix(family === 4 ? `10.${i >> 8}.${i & 255}.0/24` : `fd00:${i.toString(16)}::/32`),
        pathId: i * 1e6,
      })),
    );
    const nextHop = { address: parseAddress(family === 4 ? "10.0.0.1" : "fd00::1") };
    const attributes: Attributes = { origin: "igp", asPath: [], nextHop };
    const read = (body: Uint8Array) => readUpdate(body, both);
    const written = writeAnnouncements({ nlri, attributes }, ctx);
    expect(written.flatMap((b) => read(b).announced.flatMap((a) => paths(a.nlri)))).toEqual(paths(nlri));
    const gone = writeWithdrawals(nlri);
    expect(gone.flatMap((b) => read(b).withdrawn.flatMap(paths))).toEqual(paths(nlri));
    expect([...written, ...gone].every((b) => b.length <= 4096 - 19)).toBe(true);
  });

  test.each([
    ["a path id cut off", "0000 0018", "0000"],
    ["a path id without a prefix", "0000 0018", "00000001"],
    ["a prefix that is too long", "0000 0018", "00000001 21 0a000000 00"],
  ])("RFC 7911 §5, RFC 7606 §5.3: %s resets the session", (_why, head, tail) => {
    expect(() => readUpdate(hex(`${head} ${base} ${tail}`), both)).toThrow(
      expect.objectContaining({ code: "invalid-network" }),
    );
  });
});

describe("RFC 7606: what a broken attribute costs", () => {
  test.each<[string, string, "treat-as-withdraw" | "attribute-discard"]>([
    ["§7.1 ORIGIN 3", "400101 03 | 400206 0201 0000fc01 | 400304 0a000001", "treat-as-withdraw"],
    [
      "§7.2 AS_PATH with an unknown segment",
      "400101 00 | 400206 0901 0000fc01 | 400304 0a000001",
      "treat-as-withdraw",
    ],
    ["§7.2 AS_PATH with an empty segment", "400101 00 | 400202 0200 | 400304 0a000001", "treat-as-withdraw"],
    ["§7.2 AS_PATH cut off", "400101 00 | 400205 0201 0000fc | 400304 0a000001", "treat-as-withdraw"],
    ["§7.3 NEXT_HOP of 5 bytes", "400101 00 | 400206 0201 0000fc01 | 400305 0a00000100", "treat-as-withdraw"],
    ["§3 d NEXT_HOP missing", "400101 00 | 400206 0201 0000fc01", "treat-as-withdraw"],
    ["§7.4 MED of 3 bytes", `${base} 800403 000000`, "treat-as-withdraw"],
    ["§7.8 COMMUNITIES of 5 bytes", `${base} c00805 0000000000`, "treat-as-withdraw"],
    ["§7.14 EXTENDED COMMUNITIES empty", `${base} c01000`, "treat-as-withdraw"],
    ["RFC 8092 §6 LARGE_COMMUNITY of 11 bytes", `${base} c0200b 0000000000000000000000`, "treat-as-withdraw"],
    [
      "§3 c ORIGIN marked optional",
      "c00101 00 | 400206 0201 0000fc01 | 400304 0a000001",
      "treat-as-withdraw",
    ],
    ["§4 an attribute that overruns the list", `${base} c008ff 00`, "treat-as-withdraw"],
    [
      "RFC 7607 §2 AS 0 in the AS_PATH",
      "400101 00 | 400206 0201 00000000 | 400304 0a000001",
      "treat-as-withdraw",
    ],
    [
      "RFC 5065 §5 a confederation segment from outside",
      "400101 00 | 400206 0301 0000fc01 | 400304 0a000001",
      "treat-as-withdraw",
    ],
    ["§3 d ORIGIN missing", "400206 0201 0000fc01 | 400304 0a000001", "treat-as-withdraw"],
    ["§3 d AS_PATH missing", "400101 00 | 400304 0a000001", "treat-as-withdraw"],
    ["§7.1 ORIGIN of 2 bytes", "400102 0000 | 400206 0201 0000fc01 | 400304 0a000001", "treat-as-withdraw"],
    ["RFC 9234 §5 ONLY_TO_CUSTOMER of 3 bytes", `${base} c02303 000000`, "treat-as-withdraw"],
    ["§3 c MED marked transitive", `${base} c00404 00000001`, "treat-as-withdraw"],
    ["RFC 7607 §2 AGGREGATOR of AS 0", `${base} c00708 00000000 0a000002`, "attribute-discard"],
    ["§7.10 CLUSTER_LIST from outside", `${base} 800a04 0a000003`, "attribute-discard"],
    ["RFC 6793 §6 AS4_AGGREGATOR of 7 bytes", `${base} c01207 00000000000000`, "attribute-discard"],
    ["§7.6 ATOMIC_AGGREGATE with a value", `${base} 400601 00`, "attribute-discard"],
    [
      "§7.7 AGGREGATOR of 6 bytes on a four-octet session",
      `${base} c00706 000000000000`,
      "attribute-discard",
    ],
    ["§7.5 LOCAL_PREF from outside", `${base} 400504 000000c8`, "attribute-discard"],
    ["§7.9 ORIGINATOR_ID from outside", `${base} 800904 0a000003`, "attribute-discard"],
    [
      "§3 g MED given twice: the first stands",
      `${base} 800404 00000001 800404 00000002`,
      "attribute-discard",
    ],
  ])("%s", (_why, attributes, outcome) => {
    const { announced, withdrawn, problems } = update(body(attributes));
    expect(problems.map((p) => p.outcome)).toContain(outcome);
    const gone = outcome === "treat-as-withdraw";
    expect([announced.length, withdrawn.length]).toEqual(gone ? [0, 1] : [1, 0]);
  });

  test.each<[string, string, "treat-as-withdraw" | "attribute-discard"]>([
    ["§7.5 LOCAL_PREF of 3 bytes", `${base} 400503 000000`, "treat-as-withdraw"],
    ["§7.9 ORIGINATOR_ID of 5 bytes", `${base} 800905 0000000000`, "treat-as-withdraw"],
    ["§7.10 CLUSTER_LIST of 3 bytes", `${base} 800a03 000000`, "treat-as-withdraw"],
    ["§7.10 CLUSTER_LIST empty", `${base} 800a00`, "treat-as-withdraw"],
  ])("from inside our AS: %s", (_why, attributes, outcome) => {
    const { announced, withdrawn, problems } = update(body(attributes), inside);
    expect([problems.map((p) => p.outcome), announced.length, withdrawn.length]).toEqual([[outcome], 0, 1]);
  });

  test.each<[string, string, UpdateContext]>([
    ["RFC 6793 §6 a broken AS4_PATH on a two-octet session", "c01103 020100", { ...ctx, as4: false }],
    ["RFC 6793 §6 AS4_PATH on a four-octet session", "c01106 0201 0001869f", ctx],
  ])("the path stands: %s", (_why, attribute, context) => {
    const size = context.as4 ? "400206 0201 0000fc01" : "400204 0201 fc01";
    const { announced } = update(body(`400101 00 | ${size} | 400304 0a000001 | ${attribute}`), context);
    expect(announced[0]?.attributes.asPath).toEqual([{ kind: "sequence", ases: [0xfc01] }]);
  });

  test.each<[string, string]>([
    ["§3 c MP_REACH with wrong flags", "c00e 1a 0002 01 10 20010db8000000000000000000000001 00 20 20010db8"],
    ["§7.11 a next hop of 12 bytes", "800e 16 0002 01 0c 20010db80000000000000000 00 20 20010db8"],
    ["RFC 4760 §3 an IPv4 next hop for IPv6", "800e 0e 0002 01 04 0a000001 00 20 20010db8"],
    [
      "RFC 8950 §4 an IPv6 next hop for IPv4 that nobody agreed on",
      "800e 17 0001 01 10 20010db8000000000000000000000001 00 08 0b",
    ],
  ])("%s: its routes are withdrawn", (_why, reach) => {
    const { announced, withdrawn } = update(body(`400101 00 | 400206 0201 0000fc01 | ${reach}`, ""));
    expect([announced.length, withdrawn.length]).toEqual([0, 1]);
  });

  test("§3 c MP_UNREACH with wrong flags still withdraws", () => {
    const { withdrawn, problems } = update(body("c00f08 0002 01 20 20010db8", ""));
    expect([withdrawn.length, problems[0]?.outcome]).toEqual([1, "treat-as-withdraw"]);
  });

  test("routes of a family that was not negotiated are ignored", () => {
    const [withdrawal] = writeWithdrawals(packPrefixes(6, [parsePrefix("2001:db8::/32")]));
    expect(update(withdrawal!, { ...ctx, families: [4] }).withdrawn).toEqual([]);
  });
});

test("every attribute row cites its RFC, in type order, once", () => {
  const types = attributeTable.map((row) => row.type);
  expect(types).toEqual([...new Set(types)].toSorted((a, b) => a - b));
  for (const row of attributeTable) expect(row.rfc).toMatch(/^RFC \d+/);
});

describe("the framer", () => {
  const messages = [
    writeMessage({ kind: "keepalive" }),
    frame("update", body(base)),
    writeMessage({ kind: "notification", code: 6, subcode: 4, data: new Uint8Array(30) }),
  ];
  const stream = Uint8Array.from(messages.flatMap((m) => [...m]));

  test("gives the same messages however TCP cuts the stream", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 50 }), (sizes) => {
        const framer = new Framer();
        const out: Uint8Array[] = [];
        let at = 0;
        for (const size of [...sizes, stream.length]) {
          const chunk = stream.slice(at, at + size);
          at += size;
          for (const { type, body: bytes } of framer.push(chunk)) out.push(Uint8Array.from([type, ...bytes]));
        }
        expect(out).toEqual(messages.map((m) => m.slice(18)));
        expect(framer.pendingBytes).toBe(0);
      }),
    );
  });

  test("holds back less than one message", () => {
    const framer = new Framer();
    const open = frame("update", new Uint8Array(4077));
    for (const byte of open.slice(0, -1)) expect([...framer.push(Uint8Array.of(byte))]).toEqual([]);
    expect(framer.pendingBytes).toBe(4095);
  });

  test("longer messages only after RFC 8654", () => {
    const long = frame("update", new Uint8Array(5000));
    expect(codeOf(() => [...new Framer().push(long)])).toBe("bad-message-length");
    const framer = new Framer();
    framer.extend();
    expect([...framer.push(long)]).toHaveLength(1);
  });
});

test("the messages of one piece are counted, of any length", () => {
  const keepalive = frame("keepalive", new Uint8Array());
  const long = frame("update", new Uint8Array(300));
  expect([[], [keepalive], [keepalive, long, long]].map((all) => messagesIn(Buffer.concat(all)))).toEqual([
    0, 1, 3,
  ]);
});
