/** Routes of peers that are away, against the clock. */
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { type Attributes, type GracefulRestart, Rib, type Source } from "@margay/bgp";
import { type Family, parseAddress, parsePrefix } from "@margay/net";
import { Away } from "./away.ts";
import type { Presence } from "./presence.ts";

const day = 86_400;
const attributes: Attributes = { origin: "igp", asPath: [], nextHop: { address: parseAddress("10.0.0.2") } };
const prefixes = { 4: parsePrefix("10.244.0.0/26"), 6: parsePrefix("fd00:1::/64") } as const;

describe("a peer that is away", () => {
  beforeEach(() => void jest.useFakeTimers());
  afterEach(() => void jest.useRealTimers());

  const scene = () => {
    const rib = (family: Family) => new Rib({ family, cost: () => 0 });
    const ribs = { 4: rib(4), 6: rib(6) };
    const away = new Away(ribs, () => {});
    /** A session of the peer. */
    const present = (families: GracefulRestart["families"] = []): Presence => {
      const source: Source = {
        ...{
          kind: "ibgp",
          name: "n2",
          as: 64512,
          bgpId: 2,
          address: parseAddress("10.0.0.2"),
          client: false,
        },
      };
      const negotiated = {
        ...{ internal: true, as4: true, families: [4, 6] as const, holdTimeSeconds: 9, keepaliveSeconds: 3 },
        ...{ routeRefresh: true, enhancedRouteRefresh: true, extendedMessage: true, extendedNextHop: false },
        ...{ sendHoldSeconds: 480, gracefulRestart: { restarting: true, restartTimeSeconds: 60, families } },
      };
      return { source, negotiated, ended: new Set(), limits: new Map() };
    };
    const says = ({ source }: Presence) => {
      for (const family of [4, 6] as const) {
        const id = ribs[family].prefixes.add(prefixes[family]);
        ribs[family].put(id, { source, received: attributes, attributes });
      }
    };
    const known = ({ source }: Presence) => [4, 6].map((f) => ribs[f as Family].counts(source).received);
    return { away, present, says, known };
  };
  const time = (family: Family, restartSeconds: number, longLivedSeconds = 0) => ({
    ...{ family, restartSeconds, longLivedSeconds },
  });

  test("routes of the families that it can restart, for the restart time; the others go at once", () => {
    const { away, present, says, known } = scene();
    const one = present();
    says(one);
    away.keep("n2", one, [time(4, 60)]);
    expect(known(one)).toEqual([1, 0]);
    jest.advanceTimersByTime(59_000);
    expect(known(one)).toEqual([1, 0]);
    jest.advanceTimersByTime(2000);
    expect([known(one), away.sourceOf("n2")]).toEqual([[0, 0], undefined]);
  });

  test("RFC 9494 §3.1 a stale time of 24 bits of seconds is longer than any timer of Node", () => {
    const { away, present, says, known } = scene();
    const one = present();
    says(one);
    away.keep("n2", one, [time(4, 1, 90 * day), time(6, 1, 30 * day)]);
    jest.advanceTimersByTime(29 * day * 1000);
    expect(known(one)).toEqual([1, 1]);
    jest.advanceTimersByTime(2 * day * 1000);
    expect(known(one)).toEqual([1, 0]);
    jest.advanceTimersByTime(60 * day * 1000);
    expect([known(one), away.sourceOf("n2")]).toEqual([[0, 0], undefined]);
  });

  test("RFC 4724 §4.2 away again before its End-of-RIB: what it has not said again goes", () => {
    const { away, present, says, known } = scene();
    const forwarding = ([4, 6] as const).map((family) => ({ family, forwarding: true }));
    const [first, second] = [present(forwarding), present(forwarding)];
    says(first);
    away.keep("n2", first, [time(4, 60), time(6, 60)]);
    away.takeBack("n2", second);
    second.ended.add(6);
    expect(known(second)).toEqual([1, 1]);
    away.keep("n2", second, [time(4, 60), time(6, 60)]);
    expect(known(second)).toEqual([0, 1]); // what is stale of IPv6 is so for a route refresh
  });
});
