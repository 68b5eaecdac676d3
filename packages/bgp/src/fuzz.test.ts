/**
 * Every decoder on bytes from nowhere: it returns, or throws this package's typed error, and what it returned is what it
 * returns for the bytes it writes. `npm run fuzz` runs each for MARGAY_FUZZ_SECONDS and prints its seed; MARGAY_SEED
 * repeats one.
 */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { AsPathPatternError, matchesAsPath, parseAsPathPattern } from "./policy/as-path-pattern.ts";
import { applyPolicy } from "./policy/policy.ts";
import { idle, step } from "./session/fsm.ts";
import type { Event, Session } from "./session/session.ts";
import { fromHex } from "./testing/hex.ts";
import type { AsPath } from "./wire/as-path.ts";
import { readAttributes, splitAttributes, writeAttributes } from "./wire/attribute-codec.ts";
import { BgpError } from "./wire/error.ts";
import { Framer } from "./wire/framer.ts";
import { frame, readMessage, writeMessage } from "./wire/message.ts";
import { pathsOf, prefixesOf } from "./wire/nlri.ts";
import { describeNotification } from "./wire/notification.ts";
import { AttributeScan } from "./wire/scan.ts";
import { readUpdate, type UpdateContext } from "./wire/update.ts";
import { writeAnnouncements } from "./wire/write-update.ts";

const seconds = Number(process.env.MARGAY_FUZZ_SECONDS ?? 0);
const seed = fc.readConfigureGlobal().seed;

/** A few thousand runs in the unit tests; as many as fit the time under `npm run fuzz`. */
function fuzz<T extends [unknown, ...unknown[]]>(name: string, property: fc.IProperty<T>, runs = 2000): void {
  test(
    name,
    () => {
      if (seconds > 0) process.stdout.write(`fuzz ${name}: seed ${seed}, ${seconds} s\n`);
      const long = { numRuns: 2 ** 31 - 1, interruptAfterTimeLimit: seconds * 1000 };
      fc.assert(property, { seed, ...(seconds > 0 ? long : { numRuns: runs }) });
    },
    20_000 + seconds * 2000,
  );
}

const ctx: UpdateContext = { as4: true, internal: false, families: [4, 6] };
const contexts: readonly UpdateContext[] = [
  ctx,
  { ...ctx, internal: true },
  { ...ctx, as4: false },
  { ...ctx, extendedNextHop: true },
  { ...ctx, addPath: [4, 6] },
];
const context = fc.constantFrom(...contexts);
const types = ["open", "update", "notification", "keepalive", "route-refresh"] as const;

/** Whole messages of other daemons, and attributes that they did not send. */
const folder = new URL("../testdata/sessions/", import.meta.url);
const recorded = readdirSync(folder).flatMap((name) =>
  readFileSync(new URL(name, folder), "utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map(fromHex),
);
/** As a list comes that is looked at and not parsed: all that are known, in order. */
const plain = fromHex(
  `400101 00 | 400210 0202 0000fc01 0000fc02 0101 00000001 | 400304 0a000001 | 800404 00000064 | 400504 000000c8
  | 400600 | c00708 0000fc00 0a000002 | c00808 ffffff01 fc000064 | 800904 0a000003 | 800a08 01010101 02020202
  | c01008 0002fc0000000064 | c0200c 000000010000000200000003 | c02304 0000fc00`,
);
const everyAttribute = frame(
  "update",
  Uint8Array.from([...fromHex("0000 007d"), ...plain, ...fromHex("e063 02 abcd | 08 0a")]),
);
const seeds = fc.constantFrom(...recorded, everyAttribute);

/** A message with bytes changed, cut out and repeated behind its header. */
const mutated = fc
  .tuple(
    seeds,
    fc.array(fc.record({ at: fc.nat(150), value: fc.nat(255), cut: fc.nat(5) }), { maxLength: 6 }),
  )
  .map(([whole, edits]) => {
    let body = whole.slice(19);
    for (const { at, value, cut } of edits) {
      if (cut === 0) body = Uint8Array.from([...body.slice(0, at), ...body.slice(at + (value % 4))]);
      else if (cut === 1)
        body = Uint8Array.from([...body.slice(0, at), ...body.slice(at, at + 8), ...body.slice(at)]);
      else if (at < body.length) body[at] = value;
    }
    const type = types[(whole[18] ?? 1) - 1] ?? "update";
    return frame(type, body);
  });
const anyMessage = fc
  .tuple(fc.constantFrom(...types), fc.uint8Array({ maxLength: 200 }))
  .map(([type, body]) => frame(type, body));

/** The result, or undefined for a BgpError; any other error is a bug. */
function decoded<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof BgpError) return undefined;
    throw error;
  }
}

/** Everything that a receiver does with a stream from the net. */
function digest(bytes: Uint8Array, of: UpdateContext): void {
  decoded(() => {
    for (const cut of new Framer().push(bytes)) {
      const message = readMessage(cut, of);
      if (message.kind === "notification") describeNotification(message);
      if (message.kind !== "update") continue;
      for (const nlri of message.withdrawn) void [...prefixesOf(nlri)];
      for (const { nlri } of message.announced) void [...prefixesOf(nlri)];
    }
  });
}

describe("fuzz: a decoder returns or throws BgpError, nothing else", () => {
  fuzz("streams of any bytes", fc.property(fc.uint8Array({ maxLength: 300 }), context, digest));
  fuzz("any body under every type", fc.property(anyMessage, context, digest));
  fuzz("recorded messages, mutated", fc.property(mutated, context, digest), 5000);
});

describe("fuzz: what was read is read again from what is written", () => {
  fuzz(
    "UPDATE",
    fc.property(mutated, fc.constantFrom(...contexts.filter((c) => c.as4)), (bytes, of) => {
      if (bytes[18] !== 2) return;
      const update = decoded(() => readUpdate(bytes.subarray(19), of));
      for (const announcement of update?.announced ?? []) {
        const written = writeAnnouncements(announcement, { ...of, maxLength: 65_535 });
        const again = written.flatMap((body) => readUpdate(body, of).announced);
        expect(again.map((a) => a.attributes)).toEqual(again.map(() => announcement.attributes));
        expect(again.flatMap((a) => [...pathsOf(a.nlri)])).toEqual([...pathsOf(announcement.nlri)]);
      }
    }),
    3000,
  );
  fuzz(
    "OPEN, NOTIFICATION, ROUTE-REFRESH",
    fc.property(fc.oneof(mutated, anyMessage), (bytes) => {
      const message = decoded(() => [...new Framer().push(bytes)].map((cut) => readMessage(cut, ctx))[0]);
      if (!message || message.kind === "update" || (message.kind === "route-refresh" && !message.family))
        return;
      const [again] = [...new Framer().push(writeMessage(message))].map((cut) => readMessage(cut, ctx));
      if (message.kind !== "open") expect(again).toEqual(message);
      else {
        const { unknown: _, ...known } = message.capabilities; // shown, not passed on
        expect(again).toEqual({ ...message, capabilities: known });
      }
    }),
    3000,
  );
});

describe("fuzz: attribute lists that are looked at instead of parsed", () => {
  const edits = fc.array(fc.tuple(fc.nat(plain.length - 1), fc.oneof(fc.nat(3), fc.nat(255))), {
    maxLength: 3,
  });
  let looked = 0;
  fuzz(
    "have no problem, and are written as they came",
    fc.property(edits, fc.boolean(), (changes, internal) => {
      const bytes = Uint8Array.from(plain);
      for (const [at, value] of changes) bytes[at] = value;
      const of = { as4: true, internal };
      const scan = new AttributeScan();
      if (!scan.look(bytes, of, false)) return;
      looked++;
      const { raw, problem } = splitAttributes(bytes);
      const { attributes, problems } = readAttributes(raw, of);
      expect([problem, problems]).toEqual([undefined, []]);
      expect(attributes && writeAttributes(attributes, of)).toEqual(bytes);
      expect([scan.med, scan.localPref, scan.originatorId, scan.onlyToCustomer]).toEqual([
        attributes?.med,
        attributes?.localPref,
        attributes?.originatorId,
        attributes?.onlyToCustomer,
      ]);
    }),
    1500,
  );
  test("of which there were many", () => {
    expect(looked).toBeGreaterThan(200);
  });
  test("as are all attributes in the seed of the others", () => {
    const of = { ...ctx, internal: true };
    expect(readUpdate(everyAttribute.subarray(19), of)).toMatchObject({ problems: [], announced: [{}] });
  });
});

describe("fuzz: the session machine", () => {
  const event: fc.Arbitrary<Event> = fc.oneof(
    fc.constantFrom<Event>(
      { kind: "Start" },
      { kind: "TcpConnected" },
      { kind: "TcpFailed", why: "fuzz" },
      { kind: "KeepaliveReceived" },
      { kind: "Written" },
      { kind: "HoldTimerExpired" },
      { kind: "ConnectRetryTimerExpired" },
      { kind: "DelayOpenTimerExpired" },
      { kind: "IdleHoldTimerExpired" },
      { kind: "KeepaliveTimerExpired" },
      { kind: "SendHoldTimerExpired" },
      { kind: "StableTimerExpired" },
      { kind: "CollisionLost" },
      { kind: "Stop", error: new BgpError("admin-shutdown") },
      { kind: "AutomaticStop", error: new BgpError("max-prefixes") },
      { kind: "MessageRefused", error: new BgpError("bad-message-type") },
      { kind: "UpdateReceived", update: { kind: "update", withdrawn: [], announced: [], problems: [] } },
      { kind: "RefreshReceived", subtype: 0 },
    ),
    fc
      .record({
        as: fc.constantFrom(1, 2),
        bgpId: fc.constantFrom(1, 2),
        holdTimeSeconds: fc.constantFrom(0, 3),
      })
      .map(
        (change): Event => ({
          kind: "OpenReceived",
          open: { kind: "open", capabilities: { families: [4] }, ...change },
        }),
      ),
  );
  fuzz(
    "any events in any order: no timer or route without its state",
    fc.property(fc.array(event, { maxLength: 40 }), fc.constantFrom(0, 3), (events, delayOpenSeconds) => {
      let session: Session = idle({
        ...{
          localAs: 1,
          peerAs: 1,
          bgpId: 1,
          holdTimeSeconds: 90,
          connectRetrySeconds: 5,
          idleHoldSeconds: 1,
        },
        ...{ passive: false, delayOpenSeconds, capabilities: { families: [4] } },
      });
      const running = new Set<string>();
      for (const one of events) {
        const before = session.state;
        const [next, effects] = step(session, one, 1);
        session = next;
        for (const effect of effects) {
          if (effect.kind === "arm") running.add(effect.timer);
          if (effect.kind === "disarm") running.delete(effect.timer);
          if (effect.kind === "routes" || effect.kind === "refresh") expect(before).toBe("Established");
        }
        const { state, negotiated, delaying } = session;
        if (state === "Idle") expect([...running].filter((t) => t !== "idleHold")).toEqual([]);
        if (state === "Established") expect(negotiated).toBeDefined();
        if (delaying) expect(["Connect", "Active"]).toContain(state);
        if (state === "OpenSent") expect(running.has("hold")).toBe(true);
      }
    }),
  );
});

describe("fuzz: policies and patterns", () => {
  const as = fc.nat(5);
  const asPath: fc.Arbitrary<AsPath> = fc.array(
    fc.record({
      kind: fc.constantFrom("sequence" as const, "set" as const, "confedSequence" as const),
      ases: fc.array(as, { minLength: 1, maxLength: 4 }),
    }),
    { maxLength: 4 },
  );
  fuzz(
    "any text is a pattern or an AsPathPatternError",
    fc.property(fc.string({ unit: fc.constantFrom(..."0123456789-|.?*+^$ ax") }), asPath, (text, path) => {
      try {
        matchesAsPath(parseAsPathPattern(text), path);
      } catch (error) {
        if (!(error instanceof AsPathPatternError)) throw error;
      }
    }),
  );
  fuzz(
    "a pattern and the regular expression that says the same agree",
    fc.property(
      fc.array(fc.tuple(fc.constantFrom("0", "1", "2-4", "1|3", "."), fc.constantFrom("", "?", "*", "+")), {
        maxLength: 4,
      }),
      fc.array(as, { maxLength: 6 }),
      (tokens, ases) => {
        const text = `^${tokens.map((t) => t.join("")).join(" ")}$`;
        const of: Record<string, string> = { "2-4": "[234]", "1|3": "[13]", ".": "[0-9]" };
        const regular = new RegExp(`^${tokens.map(([atom, sign]) => (of[atom] ?? atom) + sign).join("")}$`);
        const path: AsPath = ases.length === 0 ? [] : [{ kind: "sequence", ases }];
        expect(matchesAsPath(parseAsPathPattern(text), path)).toBe(regular.test(ases.join("")));
      },
    ),
  );
  fuzz(
    "policy keeps attributes that can be sent",
    fc.property(mutated, fc.array(fc.nat(0xffffffff), { maxLength: 3 }), (bytes, values) => {
      if (bytes[18] !== 2) return;
      const update = decoded(() => readUpdate(bytes.subarray(19), ctx));
      for (const { nlri, attributes } of update?.announced ?? []) {
        const [prefix] = prefixesOf(nlri);
        if (!prefix || !attributes.nextHop) continue;
        const { address } = attributes.nextHop;
        const verdict = applyPolicy(
          {
            statements: [
              { match: {}, set: [{ kind: "set-communities", values }], verdict: "next" },
              { match: {}, set: [{ kind: "prepend", as: 7, times: 300 }], verdict: "accept" },
            ],
            otherwise: "reject",
          },
          { prefix, attributes, learned: "ebgp", peer: { address, as: 1 } },
        );
        const written = writeAnnouncements(
          { nlri, attributes: verdict.attributes },
          { ...ctx, maxLength: 65_535 },
        );
        for (const body of written) expect(readUpdate(body, ctx).problems).toEqual([]);
      }
    }),
  );
});
