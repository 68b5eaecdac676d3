/** The pure half of bgpd: resources in, wanted peers, origins, filters and kernel routes out. */
import { describe, expect, test } from "@jest/globals";
import {
  type BGPFilter,
  type BGPPeer,
  type BlockAffinity,
  effective,
  type IPPool,
  type Node,
  parse,
  type WorkloadEndpoint,
} from "@margay/api";
import type { Route as BgpRoute } from "@margay/bgp";
import { FloatingTable, floatingClaim } from "@margay/calc";
import { parseAddress, parsePrefix } from "@margay/net";
import { formatRoute, type Route } from "@margay/netlink";
import { filtersOf, unsupported } from "./filters.ts";
import { Fabric, kernelRoute } from "./kernel-routes.ts";
import { exportedPools, isExported, originated, originsOf } from "./originate.ts";
import type { PeerInputs } from "./peer-session.ts";
import { selfOf, wantedPeers } from "./peers.ts";

const make = <T>(kind: string, name: string, spec: object, labels: Record<string, string> = {}): T =>
  parse({ apiVersion: "margay.dev/v1", kind, metadata: { name, labels }, spec }).resource as T; // of that kind

const node = (n: number, bgp: object = {}, labels: Record<string, string> = {}): Node =>
  make(
    "Node",
    `n${n}`,
    { bgp: { ipv4Address: `10.0.0.${n}/24`, ipv6Address: `fd00::${n}/64`, ...bgp } },
    labels,
  );
const peer = (name: string, spec: object): BGPPeer => make("BGPPeer", name, spec);
const settings = (spec: object = {}) =>
  effective("BGPConfiguration", [make("BGPConfiguration", "default", spec)], "n1");
const inputs = (more: Partial<PeerInputs> = {}): PeerInputs => ({
  self: "n1",
  nodes: [node(1), node(2), node(3)],
  peers: [],
  endpoints: [],
  filters: [],
  settings: settings(),
  secret: () => undefined,
  ...more,
});
/** `"n2 mesh 64512"`, a client marked with `*`. */
const sessions = (more: Partial<PeerInputs>) =>
  [...wantedPeers(inputs(more)).values()]
    .map((p) => `${p.name}${p.client ? "*" : ""} ${p.type} ${p.peerAs}`)
    .sort();

const reflector = { routeReflectorClusterID: "1.0.0.1" };
const rr = { reflector: "true" };
const off = settings({ nodeToNodeMeshEnabled: false });
const toReflectors = peer("rr", { nodeSelector: "all()", peerSelector: "reflector == 'true'" });

describe("wanted peers (calico.md §5.3)", () => {
  test.each<[string, Partial<PeerInputs>, string[]]>([
    ["1 the mesh is all other nodes", {}, ["n2 mesh 64512", "n3 mesh 64512"]],
    ["1 with each node's own AS", { nodes: [node(1), node(2, { asNumber: 64600 })] }, ["n2 mesh 64600"]],
    ["1 without reflectors", { nodes: [node(1), node(2), node(3, reflector)] }, ["n2 mesh 64512"]],
    ["1 and a reflector is in no mesh", { nodes: [node(1, reflector), node(2)] }, []],
    ["1 nor a node without BGP", { nodes: [node(1), make("Node", "n2", {})] }, []],
    ["switched off", { settings: off }, []],
    ["no Node resource, no session", { self: "n9" }, []],
    [
      "3 a global peer",
      { settings: off, peers: [peer("tor", { peerIP: "10.0.0.254", asNumber: 65000 })] },
      ["tor global 65000"],
    ],
    [
      "3 of this node",
      { settings: off, peers: [peer("tor", { node: "n1", peerIP: "10.0.0.254", asNumber: 65000 })] },
      ["tor node 65000"],
    ],
    [
      "3 of another node",
      { settings: off, peers: [peer("tor", { node: "n2", peerIP: "10.0.0.254", asNumber: 65000 })] },
      [],
    ],
    [
      "3 global wins over node-specific for one address",
      {
        settings: off,
        peers: [
          peer("a", { peerIP: "10.0.0.254", asNumber: 1 }),
          peer("b", { node: "n1", peerIP: "10.0.0.254", asNumber: 2 }),
        ],
      },
      ["a global 1"],
    ],
    [
      "3 never with ourselves",
      { settings: off, peers: [peer("x", { peerIP: "10.0.0.1", asNumber: 64512 })] },
      [],
    ],
    [
      "4 peerSelector: the nodes that match",
      { settings: off, nodes: [node(1), node(2, {}, rr), node(3)], peers: [toReflectors] },
      ["n2 node 64512"],
    ],
    [
      "4, 5 and the other side by itself: everybody is the reflector's client",
      { settings: off, nodes: [node(1, reflector, rr), node(2), node(3)], peers: [toReflectors] },
      ["n2* node 64512", "n3* node 64512"],
    ],
    [
      "4 unless reversePeering is Manual",
      {
        settings: off,
        nodes: [node(1, {}, rr), node(2)],
        peers: [peer("rr", { node: "n2", peerSelector: "reflector == 'true'", reversePeering: "Manual" })],
      },
      [],
    ],
    [
      "5 reflectors of one cluster are no clients of each other",
      {
        settings: off,
        nodes: [
          node(1, reflector, rr),
          node(2, reflector, rr),
          node(3, { routeReflectorClusterID: "1.0.0.2" }, rr),
        ],
        peers: [toReflectors],
      },
      ["n2 node 64512", "n3* node 64512"],
    ],
  ])("%s", (_why, more, expected) => {
    expect(sessions(more)).toEqual(expected);
  });

  test("the terms of a BGPPeer", () => {
    const spec = {
      peerIP: "[fd00::fe]:1790",
      asNumber: 65000,
      localASNumber: 65001,
      keepaliveTime: "10s",
      maxRestartTime: "60s",
      nextHopMode: "Self",
      numAllowedLocalASNumbers: 2,
    };
    expect([...wantedPeers(inputs({ settings: off, peers: [peer("tor", spec)] })).values()]).toEqual([
      {
        name: "tor",
        type: "global",
        address: parseAddress("fd00::fe"),
        port: 1790,
        localAddress: parseAddress("fd00::1"),
        localAs: 65001,
        peerAs: 65000,
        client: false,
        nextHop: "self",
        holdTimeSeconds: 30,
        restartTimeSeconds: 60,
        allowedLocalAs: 2,
      },
    ]);
  });

  test.each<[string, object, RegExp]>([
    [
      "a filter that does not exist keeps the session down: unknown means closed",
      { filters: ["nope"] },
      /BGPFilter nope does not exist/,
    ],
    [
      "so does a password that nobody can read",
      { password: { secretKeyRef: { name: "s", key: "k" } } },
      /password/,
    ],
  ])("%s", (_why, spec, problem) => {
    const peers = [peer("tor", { peerIP: "10.0.0.254", asNumber: 65000, ...spec })];
    expect([...wantedPeers(inputs({ settings: off, peers })).values()][0]?.problem).toMatch(problem);
  });

  test("we are who our Node says", () => {
    expect(selfOf(inputs({ nodes: [node(1, reflector)] }))).toEqual({
      node: "n1",
      as: 64512,
      bgpId: 0x0a000001,
      clusterId: 0x01000001,
      listenPort: 179,
      bindNodeAddress: false,
      metric: { 4: 1024, 6: 1024 },
      addresses: {
        4: { address: parseAddress("10.0.0.1"), subnet: parsePrefix("10.0.0.0/24") },
        6: { address: parseAddress("fd00::1"), subnet: parsePrefix("fd00::/64") },
      },
    });
  });

  test("the order of the resources does not matter", () => {
    const nodes = [node(1, reflector, rr), node(2, reflector, rr), node(3), node(4)];
    const peers = [toReflectors, peer("tor", { peerIP: "10.0.0.254", asNumber: 65000 })];
    expect(sessions({ nodes: nodes.toReversed(), peers: peers.toReversed(), settings: off })).toEqual(
      sessions({ nodes, peers, settings: off }),
    );
  });
});

describe("origins (calico.md §5.4)", () => {
  const pool = (name: string, cidr: string, spec: object = {}): IPPool =>
    make("IPPool", name, { cidr, ...spec });
  const affinity = (n: string, cidr: string, state = "confirmed"): BlockAffinity =>
    make("BlockAffinity", `${n}-${cidr.replace("/", "-")}`, { state, node: n, type: "host", cidr });
  const pod = (n: string, ...ipNetworks: string[]): WorkloadEndpoint => ({
    kind: "WorkloadEndpoint",
    metadata: { name: "p", namespace: "d" },
    spec: {
      node: n,
      ipNetworks,
      interfaceName: "cali1",
      orchestrator: "k8s",
      endpoint: "eth0",
      profiles: [],
    },
    apiVersion: "margay.dev/v1",
  });
  const pools = [
    pool("a", "10.244.0.0/16"),
    pool("hidden", "10.99.0.0/16", { disableBGPExport: true }),
    pool("six", "fd00:10:244::/56"),
  ];
  const own = (affinities: BlockAffinity[], endpoints: WorkloadEndpoint[] = []) => [
    ...originated(originsOf({ node: "n1", affinities, endpoints, pools })).keys(),
  ];

  test.each<[string, BlockAffinity[], WorkloadEndpoint[], string[]]>([
    [
      "6 confirmed blocks of ours",
      [affinity("n1", "10.244.0.0/26"), affinity("n2", "10.244.0.64/26")],
      [],
      ["10.244.0.0/26"],
    ],
    ["6 of both families", [affinity("n1", "fd00:10:244::/122")], [], ["fd00:10:244::/122"]],
    ["not while pending", [affinity("n1", "10.244.0.0/26", "pending")], [], []],
    ["2 nor in a pool that is not exported", [affinity("n1", "10.99.0.0/26")], [], []],
    ["9 nor outside every pool", [affinity("n1", "192.168.0.0/26")], [], []],
    [
      "6 no address inside our own block",
      [affinity("n1", "10.244.0.0/26")],
      [pod("n1", "10.244.0.5/32")],
      ["10.244.0.0/26"],
    ],
    [
      "8 borrowed addresses alone",
      [affinity("n2", "10.244.0.64/26")],
      [pod("n1", "10.244.0.70/32")],
      ["10.244.0.70/32"],
    ],
    ["8 but not those of pods elsewhere", [], [pod("n2", "10.244.0.70/32")], []],
  ])("%s", (_why, affinities, endpoints, expected) => {
    expect(own(affinities, endpoints)).toEqual(expected);
  });

  test.each<[why: string, endpoints: WorkloadEndpoint[], affinities: BlockAffinity[], expected: string[]]>([
    [
      "whole, and not its addresses one by one",
      [pod("n1", "10.244.9.3/32"), pod("n1", "10.244.9.4/32")],
      [],
      ["10.244.9.0/24"],
    ],
    ["not while no pod here is in it", [pod("n2", "10.244.9.3/32")], [], []],
    ["not where no pool exports it", [pod("n1", "10.98.0.3/32")], [], []],
    [
      "not where IPAM has given a part of it to anybody: what is his would come here",
      [pod("n1", "10.244.9.3/32")],
      [affinity("n2", "10.244.9.64/26")],
      ["10.244.9.3/32"],
    ],
  ])("the range that Kubernetes gave a node: %s", (_why, endpoints, affinities, expected) => {
    const podCidrs = ["10.244.9.0/24", "10.98.0.0/24"].map((text) => parsePrefix(text));
    expect([...originated(originsOf({ node: "n1", affinities, endpoints, pools, podCidrs })).keys()]).toEqual(
      expected,
    );
  });

  test("floating addresses: those of pods here that have them, in exported pools", () => {
    const asking = (name: string, at: string, externalIP: string): WorkloadEndpoint => {
      const { metadata, spec, ...rest } = pod(name === "far" ? "n2" : "n1", "10.244.0.70/32");
      const ipNATs = [{ internalIP: "10.244.0.70", externalIP }];
      return {
        ...rest,
        metadata: { ...metadata, name, creationTimestamp: at },
        spec: { ...spec, ipNetworks: [], ipNATs },
      };
    };
    const endpoints = [
      asking("a", "2026-01-01", "10.244.200.1"),
      asking("outside", "2026-01-01", "192.0.2.1"),
      asking("late", "2026-01-03", "10.244.200.2"),
      asking("far", "2026-01-02", "10.244.200.2"),
    ];
    const floating = new FloatingTable();
    for (const one of endpoints) floating.set(`d/${one.metadata.name}`, floatingClaim(one));
    const origins = originsOf({ node: "n1", affinities: [], endpoints, pools, floating });
    expect([...originated(origins).keys()]).toEqual(["10.244.200.1/32"]);
  });

  test("only what lies in an exported pool leaves the node: no default route of the fabric goes on", () => {
    const exported = exportedPools(pools);
    const leaves = ["10.244.7.0/26", "10.99.0.0/26", "0.0.0.0/0", "fd00:10:244::40/122"].map((t) =>
      isExported(exported, parsePrefix(t)),
    );
    expect(leaves).toEqual([true, false, false, true]);
  });
});

test("BGPFilter rules in the words of @margay/bgp", () => {
  const filter: BGPFilter = make("BGPFilter", "f", {
    exportV4: [
      {
        action: "Accept",
        cidr: "10.0.0.0/8",
        matchOperator: "In",
        communities: { values: ["64512:7"] },
        operations: [{ addCommunity: { value: "1:2:3" } }, { prependASPath: { prefix: [1, 2] } }],
      },
    ],
    importV6: [{ action: "Reject", peerType: "eBGP", source: "RemotePeers" }],
  });
  expect(filtersOf([filter])).toEqual({
    import: { 4: [], 6: [{ action: "reject", peerType: "ebgp", fromRemotePeers: true, operations: [] }] },
    export: {
      4: [
        {
          action: "accept",
          cidr: { prefix: parsePrefix("10.0.0.0/8"), operator: "In" },
          community: 64512 * 65536 + 7,
          operations: [
            { kind: "add-community", value: [1, 2, 3] },
            { kind: "prepend", ases: [1, 2] },
          ],
        },
      ],
      6: [],
    },
  });
});

describe("a BGPFilter rule with a part that we do not have fails closed, and is named", () => {
  const words = (what: string) =>
    `BGPFilter f importV4[0]: ${what} is not supported, what else the rule matches is refused`;
  const ten = { cidr: "10.0.0.0/8", matchOperator: "In" } as const;
  test.each<[string, object, string]>([
    [
      "Reject by what nobody knows would let all pass",
      { action: "Reject", tomorrow: "eth*", ...ten },
      "tomorrow",
    ],
    ["a condition of tomorrow", { action: "Accept", ...ten, weather: "fair" }, "weather"],
  ])("%s", (_why, rule, what) => {
    const filter: BGPFilter = make("BGPFilter", "f", { importV4: [rule] });
    expect(unsupported([filter])).toEqual([words(what)]);
    expect(filtersOf([filter]).import[4]).toEqual([
      { action: "reject", cidr: { prefix: parsePrefix("10.0.0.0/8"), operator: "In" }, operations: [] },
    ]);
  });
});

test("a BGPFilter's priority and setPriority are those of the kernel route", () => {
  const filter: BGPFilter = make("BGPFilter", "f", {
    importV4: [{ action: "Accept", priority: 1024, operations: [{ setPriority: { value: 512 } }] }],
  });
  expect(unsupported([filter])).toEqual([]);
  expect(filtersOf([filter]).import[4]).toEqual([
    { action: "accept", priority: 1024, operations: [{ kind: "set-priority", value: 512 }] },
  ]);
});

describe("kernel routes", () => {
  const route = (dst: string, rest: Partial<Route>): Route => ({
    dst: parsePrefix(dst),
    protocol: 2,
    type: "unicast",
    nexthops: [],
    ...rest,
  });
  const fabric = new Fabric([
    route("10.0.0.0/24", { nexthops: [{ dev: "eth0" }] }),
    route("10.1.0.0/16", { nexthops: [{ via: parseAddress("10.0.0.254"), dev: "eth0" }] }),
    route("10.2.0.0/16", { protocol: 143, nexthops: [{ via: parseAddress("10.0.0.9"), dev: "eth0" }] }),
    route("10.3.0.0/16", { type: "blackhole" }),
  ]);
  const path = (hop: string, kind: "ibgp" | "local" = "ibgp", bandwidth?: bigint): BgpRoute => {
    const attributes = {
      ...({ origin: "igp", asPath: [], nextHop: { address: parseAddress(hop) } } as const),
      ...(bandwidth === undefined ? {} : { extendedCommunities: [bandwidth] }),
    };
    return {
      source: { kind, name: "x", as: 1, bgpId: 1, address: parseAddress(hop), client: false },
      received: attributes,
      attributes,
    };
  };
  const text = (...paths: BgpRoute[]) => {
    const made = kernelRoute({ prefix: parsePrefix("10.244.1.0/26"), paths, fabric, metric: 1024 });
    return made && formatRoute(made);
  };
  test.each<[string, BgpRoute[], string | undefined]>([
    ["a neighbour as next hop", [path("10.0.0.2")], "10.244.1.0/26 via 10.0.0.2 dev eth0 metric 1024"],
    [
      "ECMP",
      [path("10.0.0.2"), path("10.0.0.3")],
      "10.244.1.0/26 nexthop via 10.0.0.2 dev eth0 nexthop via 10.0.0.3 dev eth0 metric 1024",
    ],
    [
      "ECMP by link bandwidth, 1 and 3 bytes a second: parts of a hundred; transitive or not",
      [path("10.0.0.2", "ibgp", 0x4004_fde8_3f80_0000n), path("10.0.0.3", "ibgp", 0x0004_fde8_4040_0000n)],
      "10.244.1.0/26 nexthop via 10.0.0.2 dev eth0 weight 25 nexthop via 10.0.0.3 dev eth0 weight 75 metric 1024",
    ],
    [
      "a part too small to count is one",
      [path("10.0.0.2", "ibgp", 0x4004_fde8_3f80_0000n), path("10.0.0.3", "ibgp", 0x4004_fde8_4b80_0000n)],
      "10.244.1.0/26 nexthop via 10.0.0.2 dev eth0 nexthop via 10.0.0.3 dev eth0 weight 99 metric 1024",
    ],
    [
      "one path says none, or no number: equal",
      [path("10.0.0.2", "ibgp", 0x4004_fde8_3f80_0000n), path("10.0.0.3", "ibgp", 0x4004_fde8_7fc0_0000n)],
      "10.244.1.0/26 nexthop via 10.0.0.2 dev eth0 nexthop via 10.0.0.3 dev eth0 metric 1024",
    ],
    [
      "a next hop behind a gateway: that gateway",
      [path("10.1.0.1")],
      "10.244.1.0/26 via 10.0.0.254 dev eth0 metric 1024",
    ],
    [
      "two behind one gateway are one",
      [path("10.1.0.1"), path("10.1.0.2")],
      "10.244.1.0/26 via 10.0.0.254 dev eth0 metric 1024",
    ],
    [
      "a next hop that only a route of ours leads to: none, or the route would lean on itself",
      [path("10.2.0.1")],
      undefined,
    ],
    ["a next hop in a blackhole", [path("10.3.0.1")], undefined],
    ["our own route is the agent's business", [path("10.0.0.2", "local")], undefined],
  ])("%s", (_why, paths, expected) => {
    expect(text(...paths)).toBe(expected);
  });
  test("a filter's metric comes before the node's", () => {
    const { source, attributes, ...rest } = path("10.0.0.2");
    const priority: BgpRoute = { source, ...rest, attributes: { ...attributes!, priority: 512 } }; // given by path()
    expect(text(priority)).toBe("10.244.1.0/26 via 10.0.0.2 dev eth0 metric 512");
  });
  test("cost: 0 for a neighbour, above it as the route's metric, none without a way", () => {
    const metrics = new Fabric([
      route("10.0.0.0/24", { metric: 100, nexthops: [{ dev: "eth0" }] }),
      ...[20, 10].map((metric) =>
        route("10.1.0.0/16", { metric, nexthops: [{ via: parseAddress("10.0.0.254"), dev: "eth0" }] }),
      ),
      route("10.4.0.0/16", { metric: 2 ** 32 - 1, nexthops: [{ via: parseAddress("10.0.0.254") }] }),
      route("::/0", { nexthops: [{ via: parseAddress("fe80::1"), dev: "eth0" }] }),
    ]);
    const cost = (a: string) => metrics.cost(parseAddress(a));
    expect(["10.0.0.2", "10.1.0.1", "10.4.0.1", "2001:db8::1", "192.0.2.1"].map(cost)).toEqual([
      ...[0, 11, 2 ** 31 - 1, 1025],
      undefined,
    ]);
  });
  test("a next hop that is used no more is forgotten with the fabric that knew it", () => {
    const hop = (n: number) => ({ family: 4, bits: 0x0a00_0000n + BigInt(n) }) as const;
    const before = new Fabric([], { nextHops: [hop(1)] });
    for (let n = 0; n < 1026; n++) before.cost(hop(n));
    expect(before.isSpent).toBe(false);
    before.cost(hop(1026));
    expect(before.isSpent).toBe(true);
    const after = new Fabric([], { nextHops: [hop(1)] });
    const concerned = [1, 2].map((n) => after.concerns({ ...hop(n), length: 32 }));
    expect([concerned, after.concerns(parsePrefix("10.0.0.0/8")), after.isSpent]).toEqual([
      [true, false],
      true,
      false,
    ]);
  });
});
