import { describe, expect, test } from "@jest/globals";
import { idle, step } from "../session/fsm.ts";
import type { Settings } from "../session/negotiate.ts";
import type { Event, Session } from "../session/session.ts";
import { fromHex, marker, toHex } from "../testing/hex.ts";
import { BgpError, describeError, type ErrorCode, errors } from "./error.ts";
import { Framer } from "./framer.ts";
import { readMessage } from "./message.ts";
import {
  describeNotification,
  hardReset,
  maxPrefixesData,
  notificationOf,
  shutdownData,
} from "./notification.ts";

const settings: Settings = {
  localAs: 64512,
  peerAs: 65000,
  bgpId: 0x0a000001,
  holdTimeSeconds: 90,
  connectRetrySeconds: 10,
  idleHoldSeconds: 1,
  passive: false,
  capabilities: { families: [4, 6], as4: 64512, role: "customer" },
};
/** AS 65000, hold time 90 s, 10.0.0.2, without optional parameters. */
const plainOpen = `${marker} 001d 01 | 04 fde8 005a 0a000002 00`;
const keepalive = `${marker} 0013 04`;
const openOf = (
  parameters: string,
  options: { as?: string; hold?: string; id?: string; version?: string } = {},
) => {
  const { as = "fde8", hold = "005a", id = "0a000002", version = "04" } = options;
  const bytes = fromHex(parameters).length;
  const length = (30 + bytes - 1).toString(16).padStart(4, "0");
  return `${marker} ${length} 01 | ${version} ${as} ${hold} ${id} ${bytes.toString(16).padStart(2, "0")} ${parameters}`;
};
const update = (rest: string) => {
  const length = (19 + fromHex(rest).length).toString(16).padStart(4, "0");
  return `${marker} ${length} 02 | ${rest}`;
};

/** What a peer hears that sends these bytes on a new connection: the last NOTIFICATION, in hex. */
function answerTo(...messages: readonly string[]): string {
  let session: Session = idle(settings);
  let answer = "";
  const feed = (event: Event) => {
    const [next, effects] = step(session, event, 1);
    session = next;
    for (const e of effects)
      if (e.kind === "send" && e.message.kind === "notification")
        answer = `${e.message.code}/${e.message.subcode} ${toHex(e.message.data)}`.trim();
  };
  feed({ kind: "Start" });
  feed({ kind: "TcpConnected" });
  for (const text of messages) {
    try {
      for (const frame of new Framer().push(fromHex(text))) feed(eventOf(frame, session));
    } catch (error) {
      if (!(error instanceof BgpError)) throw error;
      feed({ kind: "MessageRefused", error });
    }
  }
  return answer;
}

function eventOf(frame: Parameters<typeof readMessage>[0], { negotiated }: Session): Event {
  const context = { as4: true, internal: false, families: negotiated?.families ?? [] };
  const message = readMessage(frame, context);
  switch (message.kind) {
    case "open":
      return { kind: "OpenReceived", open: message };
    case "update":
      return { kind: "UpdateReceived", update: message };
    case "keepalive":
      return { kind: "KeepaliveReceived" };
    case "notification":
      return { kind: "NotificationReceived", notification: message };
    case "route-refresh":
      return { kind: "RefreshReceived", subtype: message.subtype };
  }
}

/** Every error that bytes can cause: the input, and the NOTIFICATION with its data. */
const caused: readonly [ErrorCode, string, string[], string][] = [
  ["connection-not-synchronized", "§6.1 the marker is not all ones", [`00${marker.slice(2)} 0013 04`], "1/1"],
  ["bad-message-length", "§6.1 below 19; data: the length", [`${marker} 0012 04`], "1/2 0012"],
  ["bad-message-length", "§6.1 above 4,096", [`${marker} 1001 02`], "1/2 1001"],
  ["bad-message-length", "§6.1 an OPEN below 29", [`${marker} 001c 01`], "1/2 001c"],
  ["bad-message-length", "§6.1 an UPDATE below 23", [`${marker} 0016 02`], "1/2 0016"],
  ["bad-message-length", "§6.1 a KEEPALIVE that is not 19", [`${marker} 0014 04 00`], "1/2 0014"],
  ["bad-message-length", "§6.1 a NOTIFICATION below 21", [`${marker} 0014 03 06`], "1/2 0014"],
  ["bad-message-type", "§6.1 data: the type", [`${marker} 0013 09`], "1/3 09"],
  ["unsupported-version", "§6.2 data: the version we speak", [openOf("", { version: "03" })], "2/1 0004"],
  ["bad-peer-as", "§6.2 not the AS that we expect", [openOf("", { as: "fde9" })], "2/2"],
  ["bad-peer-as", "RFC 7607 §2 AS 0", [openOf("", { as: "0000" })], "2/2"],
  ["bad-peer-as", "RFC 7607 §2 AS 0 behind the capability", [openOf("02 06 4104 00000000")], "2/2"],
  ["bad-bgp-identifier", "RFC 6286 §2.2 zero", [openOf("", { id: "00000000" })], "2/3"],
  ["unsupported-optional-parameter", "§6.2", [openOf("01 00")], "2/4"],
  ["unacceptable-hold-time", "§6.2 one second", [openOf("", { hold: "0001" })], "2/6"],
  ["unacceptable-hold-time", "§6.2 two seconds", [openOf("", { hold: "0002" })], "2/6"],
  ["open-unspecific", "§6.2 a capability that overruns its parameter", [openOf("02 02 41 04")], "2/0"],
  ["role-mismatch", "RFC 9234 §4.2 two customers", [openOf("02 03 0901 03")], "2/11"],
  ["role-mismatch", "RFC 9234 §4.2 two different roles", [openOf("02 06 0901 00 0901 04")], "2/11"],
  [
    "malformed-attribute-list",
    "§6.3 withdrawn routes overrun",
    [plainOpen, keepalive, update("0005 0000")],
    "3/1",
  ],
  ["malformed-attribute-list", "§6.3 attributes overrun", [plainOpen, keepalive, update("0000 0009")], "3/1"],
  [
    "malformed-attribute-list",
    "RFC 7606 §3 g MP_UNREACH twice",
    [plainOpen, keepalive, update("0000 000c 800f03 000201 800f03 000201")],
    "3/1",
  ],
  [
    "malformed-attribute-list",
    "RFC 7606 §5.2 a broken ORIGIN and no routes",
    [plainOpen, keepalive, update("0000 0004 400101 09")],
    "3/1",
  ],
  [
    "unrecognized-well-known",
    "§6.3 data: the attribute",
    [plainOpen, keepalive, update("0000 0005 406302 abcd 08 0a")],
    "3/2 406302abcd",
  ],
  [
    "optional-attribute",
    "RFC 4760 §7 MP_REACH with a prefix of 129 bits; data: the attribute",
    [plainOpen, keepalive, update("0000 000c 800e09 000201 00 00 81 000000")],
    "3/9 800e09000201000081000000",
  ],
  [
    "invalid-network",
    "§6.3 a prefix of 33 bits",
    [plainOpen, keepalive, update("0000 0000 21 0a00000000")],
    "3/10",
  ],
  [
    "invalid-network",
    "§6.3 a withdrawn prefix cut off",
    [plainOpen, keepalive, update("0002 18 0a 0000")],
    "3/10",
  ],
  ["fsm-open-sent", "RFC 6608 §3 KEEPALIVE before OPEN", [keepalive], "5/1"],
  ["fsm-open-confirm", "RFC 6608 §3 a second OPEN", [plainOpen, plainOpen], "5/2"],
  ["fsm-established", "RFC 6608 §3 an OPEN in Established", [plainOpen, keepalive, plainOpen], "5/3"],
  [
    "refresh-length",
    "RFC 7313 §5 data: the whole message",
    [plainOpen, keepalive, `${marker} 0018 05 0001 01 01 00`],
    `7/1 ${marker}0018050001010100`,
  ],
];

describe("every error that bytes can cause: RFC 4271 §6 and what others added", () => {
  test.each(caused)("%s: %s", (code, _why, input, answer) => {
    expect(answerTo(...input)).toBe(answer);
    const { code: number, subcode } = errors[code];
    expect(answer.split(" ")[0]).toBe(`${number}/${subcode}`);
  });

  test("RFC 5492 §5 no family in common; data: the capabilities that we wanted", () => {
    const ours: Settings = { ...settings, capabilities: { families: [6] } };
    const open = {
      kind: "open",
      as: 65000,
      holdTimeSeconds: 90,
      bgpId: 2,
      capabilities: { families: [4] },
    } as const;
    const sent = [{ kind: "Start" }, { kind: "TcpConnected" }, { kind: "OpenReceived", open }] as const;
    let session = idle(ours);
    let data: Uint8Array | undefined;
    for (const event of sent) {
      const [next, effects] = step(session, event, 1);
      session = next;
      for (const e of effects)
        if (e.kind === "send" && e.message.kind === "notification") data = e.message.data;
    }
    expect(data && toHex(data)).toBe("010400020001");
  });
});

/** The others: who says them, or why nobody does. */
const elsewhere: Partial<Record<ErrorCode, string>> = {
  "missing-well-known": "RFC 7606 §3 d made it treat-as-withdraw",
  "attribute-flags": "RFC 7606 §3 c made it treat-as-withdraw",
  "attribute-length": "RFC 7606 §7 gives each attribute its outcome",
  "invalid-origin": "RFC 7606 §7.1 made it treat-as-withdraw",
  "invalid-next-hop": "RFC 7606 §7.3 made it treat-as-withdraw",
  "malformed-as-path": "RFC 7606 §7.2 made it treat-as-withdraw",
  "unsupported-capability": "the test above",
  "hold-timer-expired": "session.test.ts: the hold timer",
  "fsm-error": "received only: we name the state (RFC 6608)",
  "max-prefixes": "session.test.ts: AutomaticStop",
  "admin-shutdown": "session.test.ts: Stop",
  "peer-deconfigured": "session.test.ts: Stop",
  "admin-reset": "session.test.ts: Stop",
  "connection-rejected": "received only: who is no peer of ours is hung up on (README, deviations)",
  "configuration-change": "the caller, when a session's settings change",
  "connection-collision": "session.test.ts: CollisionLost",
  "out-of-resources": "received only",
  "hard-reset": "session.test.ts: a shutdown with the N bit",
  "bfd-down": "received only",
  "send-hold-timer-expired": "session.test.ts: the send hold timer",
};

test("each error of the table has a row here, one way or the other, once", () => {
  const here = [...new Set(caused.map(([code]) => code)), ...Object.keys(elsewhere)];
  expect(here.toSorted()).toEqual(Object.keys(errors).toSorted());
  const numbers = Object.values(errors).map((e) => `${e.code}/${e.subcode}`);
  expect(new Set(numbers).size).toBe(numbers.length);
});

describe("data, hex <-> words", () => {
  const cease = (code: ErrorCode, data: Uint8Array) => notificationOf(new BgpError(code, { data }));
  test.each<[string, ReturnType<typeof cease>, string, string]>([
    [
      "RFC 9003 §2 a shutdown message",
      cease("admin-shutdown", shutdownData("back at 6")),
      "096261636b2061742036",
      "Cease: Administrative Shutdown: back at 6",
    ],
    ["RFC 9003 §2 an empty one", cease("admin-reset", shutdownData("")), "00", "Cease: Administrative Reset"],
    [
      "RFC 9003 §4 a length beyond the message",
      cease("admin-reset", fromHex("0961")),
      "0961",
      "Cease: Administrative Reset: (malformed shutdown message)",
    ],
    [
      "control characters do not reach a terminal",
      cease("admin-shutdown", shutdownData("a\u001bb")),
      "03611b62",
      "Cease: Administrative Shutdown: a b",
    ],
    [
      "RFC 4486 §4 AFI, SAFI and the limit",
      cease("max-prefixes", maxPrefixesData(6, 1000)),
      "000201000003e8",
      "Cease: Maximum Number of Prefixes Reached: more than 1000 prefixes of IPv6",
    ],
    [
      "RFC 8538 §3 a Hard Reset carries its reason",
      hardReset(cease("admin-shutdown", shutdownData("bye"))),
      "060203627965",
      "Cease: Hard Reset: Cease: Administrative Shutdown: bye",
    ],
  ])("%s", (_why, notification, data, words) => {
    expect([toHex(notification.data), describeNotification(notification)]).toEqual([data, words]);
  });

  test("RFC 9003 §2 a message above 255 bytes is cut between characters", () => {
    const data = shutdownData("é".repeat(200));
    expect([data.length, data[0]]).toEqual([255, 254]);
  });

  test("unknown codes are numbers", () => {
    expect([describeError(6, 99), describeError(42, 1)]).toEqual([
      "Cease, subcode 99",
      "Error 42, subcode 1",
    ]);
  });
});
