/** Sessions of other daemons, recorded by testdata/record.sh, played to the session machine and the RIB. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "@jest/globals";
import { formatAddress, formatPrefix, parseAddress } from "@margay/net";
import { importRoute } from "./policy/import.ts";
import type { Source } from "./rib/path.ts";
import { Rib } from "./rib/rib.ts";
import { idle, step } from "./session/fsm.ts";
import type { Settings } from "./session/negotiate.ts";
import type { Ending, Event, Session, State } from "./session/session.ts";
import { fromHex } from "./testing/hex.ts";
import { formatAsPath } from "./wire/as-path.ts";
import type { Attributes } from "./wire/attributes.ts";
import { type Frame, Framer } from "./wire/framer.ts";
import { readMessage } from "./wire/message.ts";

const recording = (name: string): Uint8Array[] =>
  readFileSync(new URL(`../testdata/sessions/${name}.hex`, import.meta.url), "utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map(fromHex);

const settings = (peerAs: number): Settings => ({
  localAs: 65000,
  peerAs,
  bgpId: 0xc0000201,
  holdTimeSeconds: 90,
  connectRetrySeconds: 10,
  idleHoldSeconds: 1,
  passive: false,
  capabilities: {
    families: [4, 6],
    as4: 65000,
    routeRefresh: true,
    enhancedRouteRefresh: true,
    extendedMessage: true,
    gracefulRestart: {
      restarting: false,
      notification: true,
      restartTimeSeconds: 120,
      families: [
        { family: 4, forwarding: true },
        { family: 6, forwarding: true },
      ],
    },
  },
});

/** The receiving half of a speaker, without sockets. */
class Receiver {
  session: Session;
  readonly states: State[] = [];
  readonly ribs = { 4: new Rib({ family: 4, cost: () => 1 }), 6: new Rib({ family: 6, cost: () => 1 }) };
  readonly endOfRib: number[] = [];
  readonly problems: unknown[] = [];
  ending: Ending | undefined;
  readonly source: Source;

  constructor(peerAs: number) {
    this.session = idle(settings(peerAs));
    this.source = {
      kind: "ebgp",
      name: "recorded",
      as: peerAs,
      bgpId: 0xc0000202,
      address: parseAddress("192.0.2.2"),
      client: false,
    };
    this.feed({ kind: "Start" });
    this.feed({ kind: "TcpConnected" });
  }

  feed(event: Event): void {
    const [next, effects] = step(this.session, event, 1);
    if (next.state !== this.session.state) this.states.push(next.state);
    this.session = next;
    for (const effect of effects) {
      if (effect.kind === "ended") this.ending = effect.ending;
      if (effect.kind !== "routes") continue;
      const { withdrawn, announced, problems, endOfRib } = effect.update;
      this.problems.push(...problems);
      if (endOfRib) this.endOfRib.push(endOfRib);
      for (const nlri of withdrawn) this.ribs[nlri.family].withdraw(this.source, nlri);
      for (const { nlri, attributes: received } of announced) this.#learn(nlri, received);
    }
  }

  #learn(nlri: Parameters<Rib["announce"]>[0], received: Attributes): void {
    const { source } = this;
    const policy = { localAs: 65000, bgpId: 0xc0000201, ownAddresses: [], allowedLocalAs: 0 };
    const imported = importRoute({ ...policy, enforceFirstAs: true }, source, received);
    this.ribs[nlri.family].announce(nlri, { source, received, ...imported });
  }

  receive(frame: Frame): void {
    const { as4 = false, internal = false, families = [] } = this.session.negotiated ?? {};
    const message = readMessage(frame, { as4, internal, families });
    if (message.kind === "open") this.feed({ kind: "OpenReceived", open: message });
    else if (message.kind === "update") this.feed({ kind: "UpdateReceived", update: message });
    else if (message.kind === "keepalive") this.feed({ kind: "KeepaliveReceived" });
    else if (message.kind === "notification")
      this.feed({ kind: "NotificationReceived", notification: message });
  }

  /** `"10.1.0.0/16 via 192.0.2.2 [65001] 65001:100"`. */
  routes(): string[] {
    return ([4, 6] as const).flatMap((family) => {
      for (const _ of this.ribs[family].decide());
      return [...this.ribs[family].entries()].flatMap(({ prefix, best }) => {
        const a = best?.attributes;
        if (!a?.nextHop) return [];
        const communities = (a.communities ?? []).map((c) => ` ${c >>> 16}:${c & 0xffff}`);
        const large = (a.largeCommunities ?? []).map((l) => ` ${l.join(":")}`);
        const med = a.med === undefined ? "" : ` med ${a.med}`;
        const via = `${formatPrefix(prefix)} via ${formatAddress(a.nextHop.address)} [${formatAsPath(a.asPath)}]`;
        return [`${via}${med}${communities.join("")}${large.join("")}`];
      });
    });
  }
}

const played = (name: string, peerAs: number, chunk = 1 << 16): Receiver => {
  const receiver = new Receiver(peerAs);
  const framer = new Framer();
  const stream = Uint8Array.from(recording(name).flatMap((m) => [...m]));
  for (let at = 0; at < stream.length; at += chunk)
    for (const frame of framer.push(stream.subarray(at, at + chunk))) receiver.receive(frame);
  return receiver;
};

describe.each([
  {
    name: "bird",
    as: 65001,
    routes: [
      "10.1.1.0/24 via 192.0.2.2 [65001] 65001:100 65001:1:2",
      "10.1.0.0/16 via 192.0.2.2 [65001]",
      "2001:db8:1::/48 via 2001:db8::2 [65001]",
    ],
    restart: { restartTimeSeconds: 120 },
    ending: "Cease: Administrative Shutdown",
  },
  {
    name: "frr",
    as: 65002,
    routes: [
      "10.2.0.0/16 via 192.0.2.2 [65002] med 0",
      "10.2.1.0/24 via 192.0.2.2 [65002] med 50 65002:100 65002:1:2",
      "2001:db8:2::/48 via ::ffff:c000:202 [65002] med 0",
    ],
    restart: { notification: true, restartTimeSeconds: 120 },
    ending: undefined,
  },
  {
    name: "gobgp",
    as: 65003,
    routes: [
      "10.3.1.0/24 via 192.0.2.2 [65003] med 50 65003:100 65003:1:2",
      "10.3.0.0/16 via 192.0.2.2 [65003]",
      "2001:db8:3::/48 via 2001:db8::2 [65003]",
    ],
    restart: { restartTimeSeconds: 120 },
    ending: "Cease: Peer De-configured",
  },
  {
    name: "exabgp", // its OPEN, for 18 families, has extended optional parameters
    as: 65004,
    routes: [
      "10.4.1.0/24 via 192.0.2.2 [65004] med 50 65004:100 65004:1:2",
      "10.4.0.0/16 via 192.0.2.2 [65004]",
      "2001:db8:4::/48 via 2001:db8::2 [65004]",
    ],
    restart: { restartTimeSeconds: 120 },
    ending: undefined,
  },
])("$name", ({ name, as, routes, restart, ending }) => {
  const receiver = played(name, as);

  test("comes up, tells its routes, and says End-of-RIB for both families", () => {
    expect(receiver.states.slice(0, 4)).toEqual(["Connect", "OpenSent", "OpenConfirm", "Established"]);
    expect(receiver.problems).toEqual([]);
    expect(receiver.endOfRib.toSorted()).toEqual([4, 6]);
    expect(receiver.routes().toSorted()).toEqual(routes.toSorted());
  });

  test("its OPEN says what it can", () => {
    expect(opened(name, as).peer?.capabilities).toMatchObject({
      families: [4, 6],
      as4: as,
      gracefulRestart: restart,
    });
  });

  test("ends as its operator wanted", () => {
    expect(receiver.ending?.words).toBe(ending);
  });

  test("byte by byte it is the same session", () => {
    expect(played(name, as, 1).routes()).toEqual(receiver.routes());
  });
});

test.each([
  ["exabgp", [255, 255, 1, 28]],
  ["gobgp", [48, 2, 46, 2]],
])("RFC 9072 §2 optional parameters of %s: their length, and whether that is of two bytes", (name, bytes) => {
  expect([...(recording(name)[0]?.subarray(28, 32) ?? [])]).toEqual(bytes);
});

/** The session after the OPEN alone. */
function opened(name: string, as: number): Session {
  const receiver = new Receiver(as);
  const [first] = recording(name);
  for (const frame of new Framer().push(first ?? new Uint8Array())) receiver.receive(frame);
  return receiver.session;
}
