import { describe, expect, test } from "@jest/globals";
import type { Role } from "../wire/capabilities.ts";
import { BgpError, type ErrorCode } from "../wire/error.ts";
import type { Open } from "../wire/open.ts";
import { survivor } from "./collision.ts";
import { idle, step, table } from "./fsm.ts";
import { negotiate, type Settings } from "./negotiate.ts";
import { keptFor } from "./restart.ts";
import {
  type Effect,
  type Ending,
  type Event,
  type EventName,
  type Session,
  type State,
  states,
} from "./session.ts";

const settings: Settings = {
  localAs: 64512,
  peerAs: 64512,
  bgpId: 10,
  holdTimeSeconds: 90,
  connectRetrySeconds: 10,
  idleHoldSeconds: 1,
  passive: false,
  capabilities: { families: [4, 6], as4: 64512, routeRefresh: true },
};
const open: Open = {
  kind: "open",
  as: 64512,
  bgpId: 20,
  holdTimeSeconds: 30,
  capabilities: settings.capabilities,
};
const update = { kind: "update", withdrawn: [], announced: [], problems: [] } as const;

const events: Record<EventName, Event> = {
  Start: { kind: "Start" },
  Stop: { kind: "Stop", error: new BgpError("admin-shutdown") },
  AutomaticStop: { kind: "AutomaticStop", error: new BgpError("max-prefixes"), restartSeconds: 900 },
  DelayOpenTimerExpired: { kind: "DelayOpenTimerExpired" },
  SendHoldTimerExpired: { kind: "SendHoldTimerExpired" },
  StableTimerExpired: { kind: "StableTimerExpired" },
  Written: { kind: "Written" },
  ConnectRetryTimerExpired: { kind: "ConnectRetryTimerExpired" },
  HoldTimerExpired: { kind: "HoldTimerExpired" },
  KeepaliveTimerExpired: { kind: "KeepaliveTimerExpired" },
  IdleHoldTimerExpired: { kind: "IdleHoldTimerExpired" },
  TcpConnected: { kind: "TcpConnected" },
  TcpFailed: { kind: "TcpFailed", why: "connection refused" },
  OpenReceived: { kind: "OpenReceived", open },
  MessageRefused: { kind: "MessageRefused", error: new BgpError("bad-message-length") },
  CollisionLost: { kind: "CollisionLost" },
  NotificationReceived: {
    kind: "NotificationReceived",
    notification: { kind: "notification", code: 6, subcode: 4, data: new Uint8Array() },
  },
  KeepaliveReceived: { kind: "KeepaliveReceived" },
  UpdateReceived: { kind: "UpdateReceived", update },
  RefreshReceived: { kind: "RefreshReceived", family: 4, subtype: 0 },
};

/** A session brought to a state by its shortest way. */
function at(state: State, from: Session = idle(settings)): Session {
  const way: EventName[] = ["Start", "TcpConnected", "OpenReceived", "KeepaliveReceived"];
  if (state === "Active") return step(at("Connect", from), events.TcpFailed, 1)[0];
  const length = { Idle: 0, Connect: 1, OpenSent: 2, OpenConfirm: 3, Established: 4 }[state];
  return way.slice(0, length).reduce((s, name) => step(s, events[name], 1)[0], from);
}

/** Effects as short words: `"arm hold 30"`, `"send notification 4/0"`. */
function words(effects: readonly Effect[]): string[] {
  return effects.map((e) => {
    if (e.kind === "arm") return `arm ${e.timer} ${e.seconds}`;
    if (e.kind === "disarm") return `disarm ${e.timer}`;
    if (e.kind === "ended") return `ended by ${e.ending.by}`;
    if (e.kind !== "send") return e.kind;
    return e.message.kind === "notification"
      ? `send ${e.message.code}/${e.message.subcode}`
      : `send ${e.message.kind}`;
  });
}

const down = [
  "close",
  "disarm connectRetry",
  "disarm delayOpen",
  "disarm hold",
  "disarm keepalive",
  "disarm sendHold",
  "disarm stable",
];
const broken = ["Active", "close", "disarm delayOpen", "disarm hold", "arm connectRetry 10", "ended by tcp"];
const tooMany = ["Idle", "send 6/1", ...down, "arm idleHold 900", "ended by us"];
const refused = (code: string, pause = 1) => [
  "Idle",
  `send ${code}`,
  ...down,
  `arm idleHold ${pause}`,
  "ended by us",
];
const silent = (by = "us") => ["Idle", ...down, "arm idleHold 1", `ended by ${by}`];
const stopped = (...sent: string[]) => ["Idle", ...sent, ...down, "disarm idleHold", "ended by us"];
const ignored = (state: State) => [state];

/** RFC 4271 §8.2.2, every state and event: the next state, then the effects in order. `!` is the FSM Error. */
const cells: Record<State, Partial<Record<EventName, string[]>> & { "!": string[] }> = {
  Idle: {
    "!": ignored("Idle"),
    Start: ["Connect", "disarm idleHold", "arm connectRetry 10", "connect"],
    IdleHoldTimerExpired: ["Connect", "disarm idleHold", "arm connectRetry 10", "connect"],
    Stop: ["Idle", "disarm idleHold"],
  },
  Connect: {
    "!": silent(),
    Start: ignored("Connect"),
    Stop: stopped(),
    ConnectRetryTimerExpired: ["Connect", "close", "arm connectRetry 10", "connect"],
    TcpConnected: ["OpenSent", "disarm connectRetry", "send open", "arm hold 240"],
    TcpFailed: broken,
    DelayOpenTimerExpired: silent(),
    OpenReceived: silent(),
    MessageRefused: silent(),
    NotificationReceived: silent("peer"),
  },
  Active: {
    "!": silent(),
    Start: ignored("Active"),
    Stop: stopped(),
    ConnectRetryTimerExpired: ["Connect", "close", "arm connectRetry 10", "connect"],
    TcpConnected: ["OpenSent", "disarm connectRetry", "send open", "arm hold 240"],
    TcpFailed: broken,
    DelayOpenTimerExpired: silent(),
    OpenReceived: silent(),
    MessageRefused: silent(),
    NotificationReceived: silent("peer"),
  },
  OpenSent: {
    "!": refused("5/1"),
    Start: ignored("OpenSent"),
    AutomaticStop: tooMany,
    Written: ignored("OpenSent"),
    Stop: stopped("send 6/2"),
    HoldTimerExpired: refused("4/0"),
    TcpFailed: broken,
    OpenReceived: ["OpenConfirm", "send keepalive", "arm hold 30", "arm keepalive 10"],
    MessageRefused: refused("1/2"),
    CollisionLost: refused("6/7"),
    NotificationReceived: silent("peer"),
  },
  OpenConfirm: {
    "!": refused("5/2"),
    Start: ignored("OpenConfirm"),
    AutomaticStop: tooMany,
    Written: ignored("OpenConfirm"),
    Stop: stopped("send 6/2"),
    HoldTimerExpired: refused("4/0"),
    KeepaliveTimerExpired: ["OpenConfirm", "send keepalive", "arm keepalive 10"],
    TcpFailed: silent("tcp"),
    MessageRefused: refused("1/2"),
    CollisionLost: refused("6/7"),
    NotificationReceived: silent("peer"),
    KeepaliveReceived: ["Established", "arm hold 30", "arm sendHold 480", "arm stable 60", "established"],
  },
  Established: {
    "!": refused("5/3"),
    Start: ignored("Established"),
    AutomaticStop: tooMany,
    Written: ["Established", "arm sendHold 480"],
    SendHoldTimerExpired: refused("8/0"),
    StableTimerExpired: ["Established"],
    Stop: stopped("send 6/2"),
    HoldTimerExpired: refused("4/0"),
    KeepaliveTimerExpired: ["Established", "send keepalive", "arm keepalive 10"],
    TcpFailed: silent("tcp"),
    MessageRefused: refused("1/2"),
    CollisionLost: refused("6/7"),
    NotificationReceived: silent("peer"),
    KeepaliveReceived: ["Established", "arm hold 30"],
    UpdateReceived: ["Established", "arm hold 30", "routes"],
    RefreshReceived: ["Established", "refresh"],
  },
};

describe.each(states)("%s", (state) => {
  test.each(Object.keys(events) as EventName[])("%s", (name) => {
    const [next, effects] = step(at(state), events[name], 1);
    const expected = cells[state][name] ?? cells[state]["!"];
    expect([next.state, ...words(effects)]).toEqual(expected);
    // The test's table and the machine's have the same cells.
    expect(name in table[state]).toBe(name in cells[state]);
  });
});

describe("the machine over time", () => {
  test("idle hold doubles with each fault in a row, up to 32 times, and a minute of Established clears it", () => {
    const pauses: number[] = [];
    let session = idle(settings);
    for (let i = 0; i < 7; i++) {
      const [next, effects] = step(at("OpenSent", session), events.HoldTimerExpired, 1);
      for (const e of effects) if (e.kind === "arm" && e.timer === "idleHold") pauses.push(e.seconds);
      session = next;
    }
    expect(pauses).toEqual([1, 2, 4, 8, 16, 32, 32]);
    const up = at("Established", session);
    expect([up.failures, step(up, events.StableTimerExpired, 1)[0].failures]).toEqual([7, 0]);
  });

  test("jitter shortens ConnectRetry, keepalive and idle hold, not hold (RFC 4271 §10)", () => {
    expect(words(step(idle(settings), events.Start, 0.75)[1])).toContain("arm connectRetry 7.5");
    expect(words(step(at("OpenSent"), events.OpenReceived, 0.75)[1])).toEqual([
      "send keepalive",
      "arm hold 30",
      "arm keepalive 7.5",
    ]);
    expect(words(step(at("OpenSent"), events.HoldTimerExpired, 0.75)[1])).toContain("arm idleHold 0.75");
  });

  test("a passive session never dials", () => {
    const passive = idle({ ...settings, passive: true });
    const [active, effects] = step(passive, events.Start, 1);
    expect([active.state, ...words(effects)]).toEqual(["Active", "disarm idleHold"]);
    const [again, after] = step(step(active, events.TcpConnected, 1)[0], events.TcpFailed, 1);
    expect([again.state, ...words(after)]).toEqual([
      "Active",
      "close",
      "disarm delayOpen",
      "disarm hold",
      "ended by tcp",
    ]);
  });

  test("hold time 0 runs without timers (RFC 4271 §4.2)", () => {
    const [confirm, effects] = step(
      at("OpenSent"),
      { kind: "OpenReceived", open: { ...open, holdTimeSeconds: 0 } },
      1,
    );
    expect(words(effects)).toEqual(["send keepalive", "disarm hold", "disarm keepalive"]);
    expect(words(step(confirm, events.KeepaliveReceived, 1)[1])).toEqual(["arm stable 60", "established"]);
  });

  test.each<[string, Partial<Open>, string]>([
    ["§6.2 the AS is not the one configured", { as: 65000 }, "send 2/2"],
    ["RFC 6286 §2.2 an internal peer with our identifier", { bgpId: 10 }, "send 2/3"],
    ["RFC 5492 §5 no family in common", { capabilities: { families: [] } }, "send 2/7"],
  ])("an OPEN is refused: %s", (_why, change, sent) => {
    const [next, effects] = step(at("OpenSent"), { kind: "OpenReceived", open: { ...open, ...change } }, 1);
    expect([next.state, words(effects)[0]]).toEqual(["Idle", sent]);
  });
});

describe("DelayOpen, RFC 4271 §8.1.1", () => {
  const delaying = step(at("Connect", idle({ ...settings, delayOpenSeconds: 3 })), events.TcpConnected, 1);
  test("our OPEN waits for the timer", () => {
    expect([delaying[0].state, ...words(delaying[1])]).toEqual([
      "Connect",
      "disarm connectRetry",
      "arm delayOpen 3",
    ]);
    const [sent, effects] = step(delaying[0], events.DelayOpenTimerExpired, 1);
    expect([sent.state, sent.delaying, ...words(effects)]).toEqual([
      "OpenSent",
      undefined,
      "send open",
      "arm hold 240",
    ]);
  });
  test("event 20: an OPEN that comes first is answered with ours and a KEEPALIVE", () => {
    const [next, effects] = step(delaying[0], events.OpenReceived, 1);
    expect([next.state, ...words(effects)]).toEqual([
      "OpenConfirm",
      "disarm delayOpen",
      "send open",
      "send keepalive",
      "arm hold 30",
      "arm keepalive 10",
    ]);
  });
  test("TCP fails meanwhile: Active, with the ConnectRetry timer", () => {
    const [next, effects] = step(delaying[0], events.TcpFailed, 1);
    expect([next.state, next.delaying, ...words(effects)]).toEqual([
      broken[0],
      undefined,
      ...broken.slice(1),
    ]);
  });
});

describe("roles, RFC 9234 §4.2", () => {
  const external: Settings = { ...settings, peerAs: 65000 };
  const roleOf = (ours: Role | undefined, theirs: Role | undefined, roleRequired = false) => {
    const of = (role?: Role) => ({ ...settings.capabilities, ...(role ? { role } : {}) });
    const theirOpen = { ...open, as: 65000, capabilities: of(theirs) };
    try {
      return negotiate({ ...external, roleRequired, capabilities: of(ours) }, theirOpen).role;
    } catch (error) {
      return error instanceof BgpError ? error.code : error;
    }
  };
  test.each<[Role | undefined, Role | undefined, unknown]>([
    ["provider", "customer", "provider"],
    ["customer", "provider", "customer"],
    ["rs", "rs-client", "rs"],
    ["rs-client", "rs", "rs-client"],
    ["peer", "peer", "peer"],
    ["peer", "customer", "role-mismatch"],
    ["provider", "provider", "role-mismatch"],
    ["customer", undefined, "customer"],
    [undefined, "customer", undefined],
  ])("we are %s, the peer is %s: %s", (ours, theirs, outcome) => {
    expect(roleOf(ours, theirs)).toBe(outcome);
  });
  test("strict mode wants one", () => expect(roleOf("customer", undefined, true)).toBe("role-mismatch"));
});

describe("which endings keep the peer's routes", () => {
  const restart = {
    restarting: false,
    restartTimeSeconds: 60,
    families: [{ family: 4, forwarding: true }],
  } as const;
  const both = (gracefulRestart?: object) =>
    negotiate(
      {
        ...settings,
        capabilities: { ...settings.capabilities, gracefulRestart: { ...restart, notification: true } },
      },
      {
        ...open,
        capabilities: {
          families: [4],
          ...(gracefulRestart ? { gracefulRestart: { ...restart, ...gracefulRestart } } : {}),
        },
      },
    );
  const note = (code: number, subcode: number) => ({
    kind: "notification" as const,
    code,
    subcode,
    data: new Uint8Array(),
  });
  test.each<[string, Partial<Ending>, object | undefined, boolean]>([
    ["RFC 4724 §4.2 TCP broke", { by: "tcp" }, {}, true],
    ["no graceful restart agreed", { by: "tcp" }, undefined, false],
    [
      "RFC 4724 §4.2 a family that it does not list: FRR lists none unless told to",
      { by: "tcp" },
      { families: [] },
      false,
    ],
    ["a restart time of 0", { by: "tcp" }, { restartTimeSeconds: 0 }, false],
    ["never Established", { by: "tcp", established: false }, {}, false],
    ["RFC 4724 §4 a NOTIFICATION without the N bit", { by: "peer", notification: note(6, 4) }, {}, false],
    [
      "RFC 8538 §4 a NOTIFICATION with it",
      { by: "peer", notification: note(6, 4) },
      { notification: true },
      true,
    ],
    ["RFC 8538 §4 our hold timer", { by: "us", notification: note(4, 0) }, { notification: true }, true],
    ["RFC 8538 §3 a Hard Reset", { by: "peer", notification: note(6, 9) }, { notification: true }, false],
  ])("%s", (_why, ending, capability, kept) => {
    const times = keptFor({ by: "tcp", words: "", established: true, ...ending }, both(capability));
    expect(times).toEqual(kept ? [{ family: 4, restartSeconds: 60, longLivedSeconds: 0 }] : []);
  });
  test("RFC 9494 §4.2 a family with a long-lived time alone is a last resort from the start", () => {
    const longLived = [{ family: 6, forwarding: true, staleTimeSeconds: 900 }] as const;
    const times = keptFor({ by: "tcp", words: "", established: true }, { ...both({}), longLived });
    expect(times).toEqual([
      { family: 4, restartSeconds: 60, longLivedSeconds: 0 },
      { family: 6, restartSeconds: 0, longLivedSeconds: 900 },
    ]);
  });
  test("RFC 8538 §3 a shutdown is sent as Hard Reset, a reset is not", () => {
    const session = { ...at("Established"), negotiated: both({ notification: true }) };
    const sent = (code: ErrorCode) =>
      words(step(session, { kind: "Stop", error: new BgpError(code) }, 1)[1])[0];
    expect([
      sent("admin-shutdown"),
      sent("peer-deconfigured"),
      sent("max-prefixes"),
      sent("admin-reset"),
    ]).toEqual(["send 6/9", "send 6/9", "send 6/9", "send 6/4"]);
  });
});

test("a capability counts when both sides have it; the smaller hold time wins", () => {
  const theirs = {
    ...open,
    capabilities: {
      families: [6],
      as4: 64512,
      gracefulRestart: { restarting: false, restartTimeSeconds: 60, families: [] },
    },
  } as const;
  expect(negotiate(settings, theirs)).toEqual({
    internal: true,
    families: [6],
    as4: true,
    routeRefresh: false,
    enhancedRouteRefresh: false,
    extendedMessage: false,
    extendedNextHop: false,
    sendHoldSeconds: 480,
    holdTimeSeconds: 30,
    keepaliveSeconds: 10,
  });
});

test.each<[string, { sendHoldSeconds?: number; holdTimeSeconds: number }, number]>([
  ["8 minutes", { holdTimeSeconds: 90 }, 480],
  ["twice the hold time if that is more", { holdTimeSeconds: 300 }, 600],
  ["as configured", { holdTimeSeconds: 90, sendHoldSeconds: 5 }, 5],
  ["never without a hold time", { holdTimeSeconds: 0, sendHoldSeconds: 5 }, 0],
])("RFC 9687 §4 a peer that reads nothing is given up after %s", (_when, ours, expected) => {
  const theirs = { ...open, holdTimeSeconds: 300 };
  expect(negotiate({ ...settings, ...ours }, theirs).sendHoldSeconds).toBe(expected);
});

test.each<[string, [number, number], [number, number], string]>([
  ["§6.8 the higher identifier's connection survives", [10, 1], [9, 1], "us"],
  ["§6.8 as unsigned numbers: 200.0.0.1 is above 100.0.0.1", [0x64000001, 1], [0xc8000001, 1], "peer"],
  ["numeric, not text: 10.0.0.10 is above 10.0.0.9", [0x0a00000a, 1], [0x0a000009, 1], "us"],
  ["RFC 6286 §2.3 equal identifiers: the higher AS", [10, 65000], [10, 64512], "us"],
])("collision: %s", (_why, [ourId, ourAs], [theirId, theirAs], kept) => {
  expect(survivor({ bgpId: ourId, as: ourAs }, { bgpId: theirId, as: theirAs })).toBe(kept);
  expect(survivor({ bgpId: theirId, as: theirAs }, { bgpId: ourId, as: ourAs })).toBe(
    kept === "us" ? "peer" : "us",
  );
});

describe("ADD-PATH, RFC 7911 §4: a direction needs a sender and a receiver", () => {
  type Ways = "receive" | "send" | "both" | undefined;
  const agreed = (ours: Ways, theirs: Ways, family: 4 | 6 = 4) => {
    const of = (ways: Ways): Settings["capabilities"] => ({
      ...settings.capabilities,
      ...(ways ? { addPath: [{ family, receive: ways !== "send", send: ways !== "receive" }] } : {}),
    });
    return negotiate({ ...settings, capabilities: of(ours) }, { ...open, capabilities: of(theirs) }).addPath;
  };
  test.each<[Ways, Ways, ReturnType<typeof agreed>]>([
    ["both", "both", { receive: [4], send: [4] }],
    ["receive", "send", { receive: [4], send: [] }],
    ["send", "receive", { receive: [], send: [4] }],
    ["both", "receive", { receive: [], send: [4] }],
    ["receive", "receive", undefined],
    ["send", "send", undefined],
    ["both", undefined, undefined],
    [undefined, "both", undefined],
  ])("we %s, the peer %s", (ours, theirs, outcome) => expect(agreed(ours, theirs)).toEqual(outcome));
});
