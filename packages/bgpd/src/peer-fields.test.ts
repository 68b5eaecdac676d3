/** Every field of a BGPPeer beside who the peer is: what it becomes, and what is refused. */
import { describe, expect, test } from "@jest/globals";
import { type BGPPeer, effective, type Node, parse } from "@margay/api";
import { parseAddress, parsePrefix } from "@margay/net";
import type { Route } from "@margay/netlink";
import { memberOf } from "./dynamic.ts";
import { gatewayRoutes, gatewaysOf } from "./gateways.ts";
import { Fabric } from "./kernel-routes.ts";
import type { PeerInputs } from "./peer-session.ts";
import { listenRanges, wantedPeers } from "./peers.ts";

const make = <T>(kind: string, name: string, spec: object): T =>
  parse({ apiVersion: "margay.dev/v1", kind, metadata: { name }, spec }).resource as T; // of that kind
const node: Node = make("Node", "n1", { bgp: { ipv4Address: "10.0.0.1/24" } });
const peer = (name: string, spec: object): BGPPeer => make("BGPPeer", name, spec);
const settings = (spec: object = {}) =>
  effective("BGPConfiguration", [make("BGPConfiguration", "default", spec)], "n1");
const inputs = (more: Partial<PeerInputs>): PeerInputs => ({
  ...{
    self: "n1",
    endpoints: [],
    nodes: [node],
    peers: [],
    filters: [],
    settings: settings(),
    secret: () => undefined,
  },
  ...more,
});

describe("fields of a BGPPeer", () => {
  const tor = { peerIP: "10.0.0.9", asNumber: 65000 };
  const wantedOf = (spec: object, more: Partial<PeerInputs> = {}) =>
    wantedPeers(inputs({ peers: [peer("tor", { ...tor, ...spec })], ...more })).get("10.0.0.9");

  test.each<[string, object, object]>([
    ["holdTime as a number of seconds", { holdTime: 30 }, { holdTimeSeconds: 30 }],
    ["holdTime as a duration", { holdTime: "1m30s" }, { holdTimeSeconds: 90 }],
    ["keepaliveTime: a third of the hold time", { keepaliveTime: "5s" }, { holdTimeSeconds: 15 }],
    ["connectRetryTime", { connectRetryTime: "2s" }, { connectRetrySeconds: 2 }],
    ["passive", { passive: true }, { passive: true }],
    ["ttlSecurity", { ttlSecurity: 2 }, { ttlSecurityHops: 2 }],
    ["ttlSecurity 0 is off", { ttlSecurity: 0 }, { ttlSecurityHops: undefined }],
    ["families", { families: ["ipv6"] }, { families: [6] }],
    ["interface", { interface: "eth1" }, { device: "eth1" }],
    ["longLivedStaleTime", { longLivedStaleTime: "1h" }, { longLivedSeconds: 3600 }],
    ["reachableBy", { reachableBy: "10.0.0.1" }, { reachableBy: parseAddress("10.0.0.1") }],
    ["sourceAddress None: the kernel chooses", { sourceAddress: "None" }, { localAddress: undefined }],
    [
      "what makes the session",
      { role: "customer", roleRequired: true, extendedNextHop: true, delayOpenTime: 3 },
      {
        sessionTerms: {
          ...{ role: "customer", roleRequired: true, extendedNextHop: true, delayOpenSeconds: 3 },
        },
      },
    ],
    [
      "addPath",
      { addPath: { send: true, sendMax: 2 } },
      { sessionTerms: { addPath: { send: true, sendMax: 2 } } },
    ],
    [
      "maxPrefixes",
      { maxPrefixes: { ipv4: { max: 10, restartAfter: "5m" }, ipv6: { max: 5, warnOnly: true } } },
      {
        policyTerms: {
          prefixLimits: {
            4: { max: 10, warnPercent: 75, exceeded: { restartSeconds: 300 } },
            6: { max: 5, warnPercent: 75, exceeded: "warn" },
          },
        },
      },
    ],
    [
      "importPolicy",
      {
        importPolicy: {
          statements: [
            {
              name: "far",
              match: { prefixes: [{ cidr: "10.0.0.0/8", max: 24 }], asPathLength: { min: 3 } },
              set: { localPref: 50, addCommunities: ["64512:1"], nextHop: "self" },
              action: "Accept",
            },
          ],
          otherwise: "Reject",
        },
      },
      {
        policyTerms: {
          import: {
            statements: [
              {
                name: "far",
                match: {
                  prefixes: [{ prefix: parsePrefix("10.0.0.0/8"), max: 24 }],
                  asPathLength: { min: 3 },
                },
                set: [
                  { kind: "local-pref", value: 50 },
                  { kind: "add-communities", values: [64512 * 65536 + 1] },
                  { kind: "next-hop", value: "self" },
                ],
                verdict: "accept",
              },
            ],
            otherwise: "reject",
          },
        },
      },
    ],
  ])("%s", (_why, spec, expected) => {
    const wanted: Readonly<Record<string, unknown>> = { ...wantedOf(spec) };
    const seen = Object.fromEntries(Object.keys(expected).map((field) => [field, wanted[field]]));
    expect(seen).toEqual(expected);
  });

  test.each<[string, object, string]>([
    [
      "two hold times",
      { holdTime: 9, keepaliveTime: "3s" },
      "spec.holdTime: must be absent beside keepaliveTime",
    ],
    [
      "hold time 2 (RFC 4271 §4.2)",
      { holdTime: 2 },
      "spec.holdTime: must be 3 to 65535 seconds, or 0 for no",
    ],
    ["a limit of nothing", { listenLimit: 3 }, "spec.listenLimit: needs listenRange"],
    [
      "link-local without interface",
      { peerIP: "fe80::1" },
      "spec.interface: is required with a link-local peerIP",
    ],
    [
      "no AS path pattern",
      { exportPolicy: { statements: [{ match: { asPath: ["(1|2)"] }, action: "Accept" }] } },
      "spec.exportPolicy.statements[0].match.asPath[0]: must be AS numbers",
    ],
    [
      "a range that holds nothing",
      {
        importPolicy: {
          statements: [{ match: { prefixes: [{ cidr: "10.0.0.0/8", max: 4 }] }, action: "Next" }],
        },
      },
      "spec.importPolicy.statements[0].match.prefixes[0].max: must be 8 to 32",
    ],
  ])("refused: %s", (_why, spec, words) => {
    expect(() => peer("tor", { ...tor, ...spec })).toThrow(words);
  });

  describe("password", () => {
    const secret: PeerInputs["secret"] = (name, key) =>
      name === "bgp" ? { tor: "sesame", long: "x".repeat(81) }[key] : undefined;
    const ref = (key: string, optional = false) => ({
      password: { secretKeyRef: { name: "bgp", key, optional } },
    });
    test.each<[string, object, object]>([
      ["from its Secret", ref("tor"), { password: "sesame", problem: undefined }],
      [
        "missing: the session stays down rather than go unprotected",
        ref("other"),
        { password: undefined, problem: "its password: there is no key other of Secret bgp (--secrets-dir)" },
      ],
      ["missing, and allowed to be", ref("other", true), { password: undefined, problem: undefined }],
      [
        "longer than Linux takes",
        ref("long"),
        {
          password: undefined,
          problem: "its password: key long of Secret bgp is longer than 80 bytes (Linux)",
        },
      ],
    ])("%s", (_why, spec, { password, problem }: { password?: string; problem?: string }) => {
      const wanted = wantedOf(spec, { secret });
      expect([wanted?.password, wanted?.problem]).toEqual([password, problem]);
    });
  });

  test("prefixAdvertisements: announcements inside a range get the communities, before the peer's own policy", () => {
    const configuration = settings({
      communities: [{ name: "pods", value: "64512:100" }],
      prefixAdvertisements: [{ cidr: "10.244.0.0/16", communities: ["pods", "64512:1:2"] }],
    });
    const exportPolicy = { statements: [{ name: "all", action: "Accept" }] };
    expect(wantedOf({ exportPolicy }, { settings: configuration })?.policyTerms?.export).toEqual({
      statements: [
        {
          name: "prefixAdvertisements 10.244.0.0/16",
          match: { prefixes: [{ prefix: parsePrefix("10.244.0.0/16"), min: 16, max: 32 }] },
          set: [{ kind: "add-communities", values: [64512 * 65536 + 100, [64512, 1, 2]] }],
          verdict: "next",
        },
        { name: "all", match: {}, verdict: "accept" },
      ],
      otherwise: "reject",
    });
  });

  test("listenRange: a template for all that connect from there, no session of its own", () => {
    const range = peer("racks", { listenRange: "10.0.8.0/24", listenLimit: 2, asNumber: 65001, holdTime: 9 });
    expect([...wantedPeers(inputs({ peers: [range] })).values()].map((p) => p.name)).not.toContain("racks");
    const [found] = listenRanges(inputs({ peers: [range] }));
    expect([found?.range, found?.limit]).toEqual([parsePrefix("10.0.8.0/24"), 2]);
    expect(memberOf(found!, parseAddress("10.0.8.7"))).toMatchObject({
      ...{ name: "racks 10.0.8.7", peerAs: 65001, holdTimeSeconds: 9, passive: true, dynamic: "10.0.8.0/24" },
    });
  });

  test("an interface alone: whoever is found there, IPv4 by way of IPv6; refused without the peer's AS", () => {
    const wanted = wantedPeers(inputs({ peers: [peer("rack", { interface: "eth1", asNumber: 65000 })] }));
    expect(wanted.get("%eth1")).toMatchObject({
      ...{ name: "rack", device: "eth1", unnumbered: true, peerAs: 65000, localAs: 64512 },
      ...{ sessionTerms: { extendedNextHop: true }, address: { family: 6, bits: 0n } },
    });
    expect(wanted.get("%eth1")?.localAddress).toBeUndefined();
    expect(() => peer("rack", { interface: "eth1" })).toThrow("spec.asNumber: is required with interface");
  });

  test("reachableBy: a host route to the peer, and what it announces goes the same way", () => {
    const gateways = gatewaysOf(
      wantedPeers(inputs({ peers: [peer("tor", { ...tor, reachableBy: "10.0.0.1" })] })),
    );
    const eth0: Route = {
      ...{ dst: parsePrefix("10.0.0.0/24"), protocol: 2, nexthops: [{ dev: "eth0" }] },
      type: "unicast",
    };
    const fabric = new Fabric([eth0], { gateways });
    const via = { via: parseAddress("10.0.0.1"), dev: "eth0" };
    expect(fabric.hopsTo(parseAddress("10.0.0.9"))).toEqual([via]);
    expect(gatewayRoutes(gateways, { fabric, metric: { 4: 1024, 6: 1024 } })).toEqual(
      new Map([
        [
          "10.0.0.9/32",
          { dst: parsePrefix("10.0.0.9/32"), protocol: 143, type: "unicast", metric: 1024, nexthops: [via] },
        ],
      ]),
    );
  });
});
