import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import {
  ApiError,
  decode,
  definitions,
  effective,
  encode,
  type Kind,
  keyOf,
  kinds,
  parse,
  parseFile,
  parseKey,
  readDocuments,
} from "./index.ts";

const document = (kind: Kind, spec: object, name = "default") => ({
  apiVersion: "margay.dev/v1",
  kind,
  metadata: { name },
  spec,
});

function refusal(given: unknown, origin?: string): ApiError {
  try {
    parse(given, origin);
  } catch (error) {
    if (error instanceof ApiError) return error;
    throw error;
  }
  throw new Error(`accepted ${JSON.stringify(given)}`);
}

const peer = { peerIP: "10.0.0.1", asNumber: 65000 };
const rule = (fields: object) => ({ ingress: [{ action: "Allow", ...fields }] });

test.each([
  ["host bits set", "10.0.0.5/16", "must be 20 to 32 for IPv4, found 19"],
  ["no network at all", "fd00", "must be 20 to 32 for IPv4, found 19"],
  ["a short IPv6 one", "fd00:1/64", "must be 116 to 128 for IPv6, found 19"],
])("a pool's wrong range (%s) does not hide its wrong block size", (_why, cidr, expected) => {
  const document = {
    apiVersion: "margay.dev/v1",
    kind: "IPPool",
    metadata: { name: "p" },
    spec: { cidr, blockSize: 19 },
  };
  const { issues } = refusal(document);
  expect(issues.map(({ path }) => path)).toEqual(["spec.cidr", "spec.blockSize"]);
  expect(issues[1]?.message).toBe(expected);
});

describe("invalid resources are refused with the field and what is allowed", () => {
  test.each<[string, Kind, object, string, RegExp]>([
    ["no interface at all", "HostEndpoint", { node: "n1" }, "spec.interfaceName", /expectedIPs/],
    [
      "a pool has one encapsulation",
      "IPPool",
      { cidr: "10.0.0.0/16", ipipMode: "Always", vxlanMode: "Always" },
      "spec.vxlanMode",
      /must be Never beside another ipipMode/,
    ],
    [
      "IPIP is IPv4 only",
      "IPPool",
      { cidr: "fd00::/64", ipipMode: "Always" },
      "spec.ipipMode",
      /must be Never for IPv6/,
    ],
    [
      "IPv4 blocks are /20 to /32",
      "IPPool",
      { cidr: "10.0.0.0/16", blockSize: 19 },
      "spec.blockSize",
      /must be 20 to 32 for IPv4, found 19/,
    ],
    [
      "IPv6 blocks are /116 to /128",
      "IPPool",
      { cidr: "fd00::/64", blockSize: 26 },
      "spec.blockSize",
      /must be 116 to 128 for IPv6, found 26/,
    ],
    [
      "a pool holds a block at least",
      "IPPool",
      { cidr: "10.0.0.0/27" },
      "spec.cidr",
      /at least one block of \/26/,
    ],
    [
      "a pool's CIDR is masked",
      "IPPool",
      { cidr: "10.0.0.1/16" },
      "spec.cidr",
      /the network is 10.0.0.0\/16/,
    ],
    ["and has a length", "IPPool", { cidr: "10.0.0.0" }, "spec.cidr", /must be a CIDR such as/],
    ["link-local is no pool", "IPPool", { cidr: "169.254.0.0/20" }, "spec.cidr", /link-local/],
    ["a pool without CIDR", "IPPool", {}, "spec.cidr", /is required: text/],
    [
      "modes are words",
      "IPPool",
      { cidr: "10.0.0.0/16", ipipMode: "always" },
      "spec.ipipMode",
      /must be one of Never, Always, CrossSubnet, found "always"/,
    ],
    [
      "LoadBalancer excludes other uses",
      "IPPool",
      { cidr: "10.0.0.0/16", allowedUses: ["LoadBalancer", "Workload"] },
      "spec.allowedUses",
      /LoadBalancer alone/,
    ],
    [
      "a selector with a fault says where",
      "IPPool",
      { cidr: "10.0.0.0/16", nodeSelector: "a = 'b'" },
      "spec.nodeSelector",
      /at character 3/,
    ],
    [
      "global() is for namespaces",
      "IPPool",
      { cidr: "10.0.0.0/16", nodeSelector: "global()" },
      "spec.nodeSelector",
      /namespaceSelector only/,
    ],
    [
      "node or nodeSelector",
      "BGPPeer",
      { ...peer, node: "n1", nodeSelector: "all()" },
      "spec.nodeSelector",
      /must be absent beside node/,
    ],
    [
      "peerIP or peerSelector",
      "BGPPeer",
      { peerIP: "10.0.0.1", peerSelector: "all()" },
      "spec.peerSelector",
      /must be absent beside peerIP/,
    ],
    [
      "peerSelector takes the AS from the nodes",
      "BGPPeer",
      { peerSelector: "all()", asNumber: 1 },
      "spec.asNumber",
      /must be absent beside peerSelector/,
    ],
    ["peerIP needs an AS", "BGPPeer", { peerIP: "10.0.0.1" }, "spec.asNumber", /is required with peerIP/],
    ["a peer has a target", "BGPPeer", {}, "spec", /must have one of peerIP/],
    [
      "peerIP is no name",
      "BGPPeer",
      { ...peer, peerIP: "tor" },
      "spec.peerIP",
      /must be an address, with a port or not/,
    ],
    [
      "a port of 0 is none",
      "BGPPeer",
      { ...peer, peerIP: "10.0.0.1:0" },
      "spec.peerIP",
      /must be an address/,
    ],
    ["AS 0 is reserved, RFC 7607", "BGPPeer", { ...peer, asNumber: 0 }, "spec.asNumber", /1 to 4294967295/],
    [
      "AS numbers have 32 bits",
      "BGPPeer",
      { ...peer, asNumber: "65536.0" },
      "spec.asNumber",
      /1 to 4294967295/,
    ],
    [
      "the gateway is of the peer's family",
      "BGPPeer",
      { ...peer, reachableBy: "fd00::1" },
      "spec.reachableBy",
      /family of peerIP/,
    ],
    [
      "durations have a unit",
      "BGPPeer",
      { ...peer, keepaliveTime: "30" },
      "spec.keepaliveTime",
      /duration such as/,
    ],
    [
      "a node that speaks BGP has an address",
      "Node",
      { bgp: { asNumber: 1 } },
      "spec.bgp",
      /ipv4Address or ipv6Address/,
    ],
    [
      "of the right family",
      "Node",
      { bgp: { ipv4Address: "fd00::1/64" } },
      "spec.bgp.ipv4Address",
      /must be IPv4/,
    ],
    [
      "filters: cidr needs an operator",
      "BGPFilter",
      { importV4: [{ action: "Accept", cidr: "10.0.0.0/8" }] },
      "spec.importV4[0].matchOperator",
      /required with cidr/,
    ],
    [
      "filters: an operation is one",
      "BGPFilter",
      { importV4: [{ action: "Accept", operations: [{}] }] },
      "spec.importV4[0].operations[0]",
      /exactly one of/,
    ],
    [
      "communities are numbers",
      "BGPConfiguration",
      { prefixAdvertisements: [{ cidr: "10.0.0.0/8", communities: ["x"] }] },
      "spec.prefixAdvertisements[0].communities[0]",
      /a name from spec.communities \(there is none\), found "x"/,
    ],
    [
      "ports need a protocol",
      "GlobalNetworkPolicy",
      rule({ destination: { ports: [80] } }),
      "spec.ingress[0].destination.ports",
      /need protocol TCP, UDP or SCTP, found none/,
    ],
    [
      "that has ports",
      "GlobalNetworkPolicy",
      rule({ protocol: "ICMP", destination: { ports: [80] } }),
      "spec.ingress[0].destination.ports",
      /found "ICMP"/,
    ],
    [
      "ranges go up",
      "GlobalNetworkPolicy",
      rule({ protocol: "TCP", destination: { ports: ["9:8"] } }),
      "spec.ingress[0].destination.ports[0]",
      /range "low:high"/,
    ],
    [
      "an ICMP code needs a type",
      "GlobalNetworkPolicy",
      rule({ protocol: "ICMP", icmp: { code: 1 } }),
      "spec.ingress[0].icmp.code",
      /needs `type`/,
    ],
    [
      "icmp needs the protocol",
      "GlobalNetworkPolicy",
      rule({ icmp: { type: 8 } }),
      "spec.ingress[0].icmp",
      /needs protocol ICMP or ICMPv6, found none/,
    ],
    [
      "ICMP is IPv4",
      "GlobalNetworkPolicy",
      rule({ protocol: "ICMP", ipVersion: 6 }),
      "spec.ingress[0].ipVersion",
      /must be 4 with protocol ICMP/,
    ],
    [
      "one family per rule",
      "GlobalNetworkPolicy",
      rule({ source: { nets: ["10.0.0.0/8"] }, destination: { nets: ["fd00::/8"] } }),
      "spec.ingress[0]",
      /must not mix IPv4 and IPv6/,
    ],
    [
      "that of ipVersion",
      "GlobalNetworkPolicy",
      rule({ ipVersion: 6, source: { nets: ["10.0.0.0/8"] } }),
      "spec.ingress[0].ipVersion",
      /must be 4/,
    ],
    [
      "notNets leave something",
      "GlobalNetworkPolicy",
      rule({ source: { notNets: ["0.0.0.0/0"] } }),
      "spec.ingress[0].source.notNets[0]",
      /must not exclude everything/,
    ],
    [
      "services exclude selectors",
      "GlobalNetworkPolicy",
      rule({ source: { services: { name: "a", namespace: "b" }, selector: "all()" } }),
      "spec.ingress[0].source.selector",
      /absent beside `services`/,
    ],
    [
      "domains say who is meant by themselves",
      "GlobalNetworkPolicy",
      { egress: [{ action: "Allow", destination: { domains: ["a.example"], nets: ["10.0.0.0/8"] } }] },
      "spec.egress[0].destination.nets",
      /absent beside `domains`/,
    ],
    [
      "domains of an ingress rule",
      "GlobalNetworkPolicy",
      rule({ destination: { domains: ["a.example"] } }),
      "spec.ingress[0].destination.domains",
      /for egress rules/,
    ],
    [
      "domains of who sends",
      "GlobalNetworkPolicy",
      { egress: [{ action: "Allow", source: { domains: ["a.example"] } }] },
      "spec.egress[0].source.domains",
      /for destinations/,
    ],
    ...["Deny", "Pass", "Log"].map((action): [string, "GlobalNetworkPolicy", object, string, RegExp] => [
      `domains, of which some address is always missing, in a rule to ${action}`,
      "GlobalNetworkPolicy",
      { egress: [{ action, destination: { domains: ["a.example"] } }] },
      "spec.egress[0].destination.domains",
      /for action Allow/,
    ]),
    [
      "a domain that is none",
      "Profile",
      { egress: [{ action: "Allow", destination: { domains: ["a.example", "localhost"] } }] },
      "spec.egress[0].destination.domains[1]",
      /must be a domain name.*found "localhost"/,
    ],
    [
      "no domain at all",
      "GlobalNetworkPolicy",
      { egress: [{ action: "Allow", destination: { domains: [] } }] },
      "spec.egress[0].destination.domains",
      /1 to 256/,
    ],
    [
      "a DNS server by name",
      "FelixConfiguration",
      { dnsTrustedServers: ["dns.example"] },
      "spec.dnsTrustedServers[0]",
      /k8s-service/,
    ],
    [
      "a nodeSelector says who is meant by itself",
      "GlobalNetworkPolicy",
      rule({ destination: { nodeSelector: "all()", nets: ["10.0.0.0/8"] } }),
      "spec.ingress[0].destination.nets",
      /absent beside `nodeSelector`/,
    ],
    [
      "global policies name the service's namespace",
      "GlobalNetworkPolicy",
      rule({ source: { services: { name: "a" } } }),
      "spec.ingress[0].source.services.namespace",
      /is required/,
    ],
    [
      "HTTP is not enforced, hence refused",
      "GlobalNetworkPolicy",
      rule({ http: { methods: ["GET"] } }),
      "spec.ingress[0].http",
      /not enforced by Margay/,
    ],
    [
      "doNotTrack needs applyOnForward",
      "GlobalNetworkPolicy",
      { doNotTrack: true },
      "spec.applyOnForward",
      /must be true/,
    ],
    [
      "preDNAT has no egress",
      "GlobalNetworkPolicy",
      { preDNAT: true, applyOnForward: true, egress: [{ action: "Allow" }] },
      "spec.egress",
      /must be empty/,
    ],
    [
      "built-in tiers are fixed",
      "Tier",
      { order: 5 },
      "spec.order",
      /must be 1000000 in the built-in tier default/,
    ],
    [
      "a claim needs room",
      "IPAMConfiguration",
      { autoAllocateBlocks: false },
      "spec.autoAllocateBlocks",
      /unless strictAffinity/,
    ],
    [
      "a block limit needs strictness",
      "IPAMConfiguration",
      { maxBlocksPerHost: 3 },
      "spec.maxBlocksPerHost",
      /unless strictAffinity/,
    ],
    [
      "a mark mask has bits",
      "FelixConfiguration",
      { iptablesMarkMask: "0x1" },
      "spec.iptablesMarkMask",
      /at least 8 set/,
    ],
    [
      "host endpoints have one interface, or all: backends differ in patterns, eth*",
      "HostEndpoint",
      { node: "n1", interfaceName: "eth*" },
      "spec.interfaceName",
      /one interface/,
    ],
    [
      "host endpoints have one interface, or all: backends differ in patterns, eth+",
      "HostEndpoint",
      { node: "n1", interfaceName: "eth+" },
      "spec.interfaceName",
      /one interface/,
    ],
    [
      "a pattern of 16 characters no packet filter takes",
      "FelixConfiguration",
      { interfacePrefix: "cali,abcdefghijklmno" },
      "spec.interfacePrefix",
      /14 characters/,
    ],
    [
      "NAT's interface is a word of a rule",
      "FelixConfiguration",
      { natOutgoingInterfaceFilter: "an-interface-name-too-long" },
      "spec.natOutgoingInterfaceFilter",
      /15 characters/,
    ],
    [
      "a line of the log is one line, and so is a rule",
      "FelixConfiguration",
      { logPrefix: "a\nCOMMIT" },
      "spec.logPrefix",
      /one line/,
    ],
    [
      "actions are words",
      "FelixConfiguration",
      { iptablesFilterDenyAction: "Ignore" },
      "spec.iptablesFilterDenyAction",
      /must be one of Drop, Reject/,
    ],
    [
      "an endpoint's address is one",
      "WorkloadEndpoint",
      {
        orchestrator: "k8s",
        node: "n",
        endpoint: "eth0",
        interfaceName: "cali1",
        ipNetworks: ["10.0.0.0/24"],
      },
      "spec.ipNetworks[0]",
      /must be one address/,
    ],
    [
      "a block is named after its CIDR",
      "IPAMBlock",
      { cidr: "10.0.0.0/26", affinityClaimTime: "", sequenceNumber: 0, allocations: {}, unallocated: [] },
      "metadata.name",
      /must be 10.0.0.0-26/,
    ],
  ])("%s", (_why, kind, spec, path, message) => {
    const { code, issues } = refusal(document(kind, spec));
    expect(code).toBe("invalid");
    expect(issues).toEqual([{ path, message: expect.stringMatching(message) }]);
  });

  test("fields of the cluster are refused in a node's configuration", () => {
    const { issues } = refusal(document("BGPConfiguration", { asNumber: 1, listenPort: 1790 }, "node.n1"));
    expect(issues).toEqual([
      { path: "spec.asNumber", message: "is allowed in the object named default only, found 1" },
    ]);
  });

  test.each<[Kind, string, RegExp]>([
    ["IPPool", "Upper", /DNS subdomain/],
    ["FelixConfiguration", "other", /"default", or "node.<nodename>"/],
    ["ClusterInformation", "other", /must be "default"/],
    ["Tier", "a.b", /DNS label/],
    ["GlobalNetworkPolicy", "a.b.c", /at most one dot/],
  ])("a %s may not be called %s", (kind, name, message) => {
    expect(refusal(document(kind, { cidr: "10.0.0.0/16" }, name)).issues).toContainEqual({
      path: "metadata.name",
      message: expect.stringMatching(message),
    });
  });

  test("every fault is listed, each with origin, kind, name and path", () => {
    const { message } = refusal(
      { ...document("IPPool", { cidr: "x", natOutgoing: 1 }), metadata: { name: "p", namespace: "n" } },
      "pools.yaml:3",
    );
    expect(message.split("\n")).toEqual([
      'pools.yaml:3: IPPool p: metadata.namespace: must be absent: the kind is not namespaced, found "n"',
      'pools.yaml:3: IPPool p: spec.cidr: must be a CIDR such as 10.0.0.0/8, found "x"',
      "pools.yaml:3: IPPool p: spec.natOutgoing: must be true or false, found 1",
    ]);
  });

  test.each<[string, unknown, string]>([
    ["an unknown kind", { apiVersion: "margay.dev/v1", kind: "Pool" }, "kind"],
    ["a foreign group", { apiVersion: "v1", kind: "Pod" }, "apiVersion"],
    ["no group", { kind: "IPPool" }, "apiVersion"],
    ["a kind that is no text", { apiVersion: "margay.dev/v1", kind: { toString: 1 } }, "kind"],
  ])("%s", (_why, given, path) => {
    expect(refusal(given)).toMatchObject({ code: "unknown-kind", issues: [{ path }] });
  });

  test.each([[1], ["x"], [null], [undefined], [[]]])("%p is no document", (given) => {
    expect(refusal(given).code).toBe("invalid");
  });
});

describe("what is accepted", () => {
  test("Calico's documents, under our name", () => {
    const { resource, warnings } = parse({
      ...document("IPPool", { cidr: "10.0.0.0/16" }, "p"),
      apiVersion: "projectcalico.org/v3",
    });
    expect(resource).toMatchObject({ apiVersion: "margay.dev/v1", kind: "IPPool" });
    expect(warnings).toEqual([]);
  });

  test.each<[string, Kind, object, object]>([
    [
      "IPv4 blocks are /26",
      "IPPool",
      { cidr: "10.0.0.0/16" },
      {
        blockSize: 26,
        ipipMode: "Never",
        natOutgoing: false,
        nodeSelector: "all()",
        assignmentMode: "Automatic",
      },
    ],
    ["IPv6 blocks are /122", "IPPool", { cidr: "fd00::/64" }, { blockSize: 122 }],
    [
      "a policy without rules is for ingress",
      "GlobalNetworkPolicy",
      {},
      { types: ["Ingress"], tier: "default", selector: "all()" },
    ],
    [
      "with egress rules only, for egress",
      "GlobalNetworkPolicy",
      { egress: [{ action: "Allow" }] },
      { types: ["Egress"] },
    ],
    [
      "with both, for both",
      "GlobalNetworkPolicy",
      { ingress: [{ action: "Allow" }], egress: [{ action: "Deny" }] },
      { types: ["Ingress", "Egress"] },
    ],
    ["protocols in any case", "GlobalNetworkPolicy", rule({ protocol: "tcp" }), rule({ protocol: "TCP" })],
    ["protocols as digits", "GlobalNetworkPolicy", rule({ protocol: "47" }), rule({ protocol: 47 })],
    [
      "networks are masked and canonical",
      "GlobalNetworkPolicy",
      rule({ source: { nets: ["10.1.2.3/8"] } }),
      rule({ source: { nets: ["10.0.0.0/8"] } }),
    ],
    ["an address is a network", "NetworkSet", { nets: ["FD00::0:1"] }, { nets: ["fd00::1/128"] }],
    ["dotted AS numbers, RFC 5396", "BGPPeer", { ...peer, asNumber: "1.10" }, { asNumber: 65546 }],
    [
      "the mark mask in hexadecimal",
      "FelixConfiguration",
      { iptablesMarkMask: "0xff00" },
      { iptablesMarkMask: 0xff00 },
    ],
    [
      "words of FelixConfiguration in any case",
      "FelixConfiguration",
      { defaultEndpointToHostAction: "ACCEPT", chainInsertMode: "append" },
      { defaultEndpointToHostAction: "Accept", chainInsertMode: "Append" },
    ],
  ])("%s", (_why, kind, spec, expected) => {
    expect(parse(document(kind, spec)).resource.spec).toMatchObject(expected);
  });

  test("unknown fields are named and kept, through the datastore too", () => {
    const given = {
      ...document("IPPool", { cidr: "10.0.0.0/16", later: { x: 1 } }, "p"),
      metadata: { name: "p", uuid: "u", creationTimestamp: null },
    };
    const { resource, warnings } = parse(given);
    expect(warnings).toEqual([
      "metadata.uuid: unknown field, kept but without effect",
      "spec.later: unknown field, kept but without effect",
    ]);
    expect(resource.spec).toMatchObject({ later: { x: 1 } });
    expect(decode("/margay/v1/ippools/p", encode(resource))).toEqual(resource);
  });

  test.each<[kind: Kind, spec: object, warnings: readonly string[]]>([
    [
      "FelixConfiguration",
      { maxIpsetSize: 5, vxlanPort: 4789 },
      ["spec.maxIpsetSize: kept but without effect: a set holds up to 1048576 members"],
    ],
    ["FelixConfiguration", {}, []],
    [
      "GlobalNetworkPolicy",
      { performanceHints: ["AssumeNeededOnEveryNode"] },
      [
        "spec.performanceHints: kept but without effect: a policy is rendered where it selects something, and in time",
      ],
    ],
    ["StagedGlobalNetworkPolicy", { doNotTrack: false }, []],
    [
      "StagedGlobalNetworkPolicy",
      { preDNAT: true, applyOnForward: true },
      [
        "spec.preDNAT: kept but without effect: nothing is staged before connection tracking or destination NAT: the policy counts nothing",
      ],
    ],
  ])("%s %j: what is known and has no effect is named", (kind, spec, warnings) => {
    expect(parse(document(kind, spec, kind === "FelixConfiguration" ? "default" : "p")).warnings).toEqual(
      warnings,
    );
  });

  test("unknown fields inside lists keep their place", () => {
    const spec = {
      egress: [
        { action: "Allow" },
        { action: "Deny", destination: { nets: ["10.0.0.0/8"], countries: ["XX"] } },
      ],
    };
    const { resource, warnings } = parse(document("GlobalNetworkPolicy", spec));
    expect(warnings).toEqual([
      "spec.egress[1].destination.countries: unknown field, kept but without effect",
    ]);
    expect(resource.spec).toMatchObject(spec);
  });

  test("names that every object inherits are unknown fields like others", () => {
    const given = JSON.parse(
      '{"order": 5, "constructor": 1, "__proto__": {"defaultAction": "Pass"}}',
    ) as object;
    const { resource, warnings } = parse(document("Tier", given, "t"));
    expect(warnings).toEqual([
      "spec.constructor: unknown field, kept but without effect",
      "spec.__proto__: unknown field, kept but without effect",
    ]);
    expect(resource.spec).toMatchObject({ order: 5, defaultAction: "Deny" });
  });

  test("a namespaced kind without a namespace is of the namespace default", () => {
    expect(parse(document("NetworkPolicy", {})).resource.metadata).toEqual({
      name: "default",
      namespace: "default",
    });
  });
});

/** Aliases of aliases: ten lines that mean a billion. */
const laughs = [
  "l0: &l0 [x]",
  ...Array.from({ length: 9 }, (_, i) => `l${i + 1}: &l${i + 1} [${Array(10).fill(`*l${i}`)}]`),
].join("\n");

describe("whatever is given", () => {
  const example = fc.constantFrom(...kinds).map((kind) => definitions[kind].example);

  /** An example with the value at one place replaced. */
  const damaged = fc.tuple(example, fc.nat(), fc.jsonValue()).map(([document, place, value]) => {
    const paths = [...placesIn(document)];
    const path = paths[place % paths.length] ?? [];
    return replaced(document, path, value);
  });

  /** There is no -0 in JSON. */
  const asJson = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

  test("it is a resource, which parses to itself again and survives the datastore, or an ApiError", () => {
    fc.assert(
      fc.property(fc.oneof(damaged, fc.jsonValue()).map(asJson), (given) => {
        const resource = resourceOr(given);
        if (!resource) return;
        expect(parse(resource).resource).toEqual(resource);
        const { kind, metadata } = resource;
        expect(decode(keyOf(kind, metadata.name, metadata.namespace), encode(resource))).toEqual(resource);
      }),
      { numRuns: 1000 },
    );
  });

  function resourceOr(given: unknown) {
    try {
      return parse(given).resource;
    } catch (error) {
      expect(error).toBeInstanceOf(ApiError);
      expect((error as ApiError).issues.length).toBeGreaterThan(0);
      return undefined;
    }
  }

  function* placesIn(value: unknown, path: string[] = []): Generator<string[]> {
    yield path;
    if (typeof value !== "object" || value === null) return;
    for (const [key, inner] of Object.entries(value)) yield* placesIn(inner, [...path, key]);
  }

  function replaced(value: unknown, [key, ...rest]: readonly string[], by: unknown): unknown {
    if (key === undefined) return by;
    const inner = (value as Record<string, unknown>)[key];
    if (Array.isArray(value)) return value.with(Number(key), replaced(inner, rest, by));
    return { ...(value as object), [key]: replaced(inner, rest, by) };
  }
});

describe("files", () => {
  const pool = "apiVersion: margay.dev/v1\nkind: IPPool\nmetadata: {name: p}\nspec: {cidr: 10.0.0.0/16}\n";

  test("documents, Lists and Kubernetes objects; empty documents are skipped", () => {
    const list =
      "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: a}}\n- {apiVersion: v1, kind: Namespace, metadata: {name: b}}\n";
    const found = parseFile(`---\n${pool}---\n# nothing\n---\n${list}`, "f.yaml");
    expect(found.map(({ resource }) => `${resource.kind} ${resource.metadata.name}`)).toEqual([
      "IPPool p",
      "Profile kns.a",
      "Profile kns.b",
    ]);
  });

  test("JSON is YAML", () => {
    expect(parseFile(JSON.stringify(document("Tier", {}, "t"), null, 2), "-")).toHaveLength(1);
  });

  test("the line of the faulty document is named, and others are still read", () => {
    const text = `${pool}---\n\n${pool.replace("10.0.0.0/16", "oops")}---\n${pool}`;
    const outcomes = readDocuments(text, "f.yaml");
    expect(outcomes.map(({ ok, origin }) => [ok, origin])).toEqual([
      [true, "f.yaml:1"],
      [false, "f.yaml:7"],
      [true, "f.yaml:12"],
    ]);
    expect(() => parseFile(text, "f.yaml")).toThrow("f.yaml:7: IPPool p: spec.cidr: must be a CIDR");
  });

  test.each<[string, string]>([
    ["a map that does not end", "{a: b"],
    ["a map where a value stands", "a: b: c"],
    ["a key twice", "a: &x b\na: 1"],
    ["an alias of nothing", "- *nowhere"],
    ["a billion laughs", laughs],
  ])("no YAML: %s, said with the line", (_why, text) => {
    const [outcome] = readDocuments(text, "f.yaml");
    expect(outcome).toMatchObject({
      ok: false,
      error: { code: "invalid", message: expect.stringMatching(/^f\.yaml:\d+: no YAML: /) },
    });
  });

  test("an empty file holds nothing", () => {
    expect(parseFile("", "f.yaml")).toEqual([]);
  });
});

describe("keys", () => {
  test.each<[Kind, string, string | undefined, string]>([
    ["IPPool", "p", undefined, "/margay/v1/ippools/p"],
    ["NetworkPolicy", "web", "shop", "/margay/v1/networkpolicies/shop/web"],
    ["IPAMBlock", "fd00:10:244::40-122", undefined, "/margay/v1/ipamblocks/fd00:10:244::40-122"],
  ])("%s %s", (kind, name, namespace, key) => {
    expect(keyOf(kind, name, namespace)).toBe(key);
    expect(parseKey(key)).toEqual(namespace ? { kind, namespace, name } : { kind, name });
  });

  test.each([
    "/margay/v1/barriers/1",
    "/margay/v1/ippool/p",
    "/margay/v1/IPPOOLS/p",
    "/margay/v1/ippools/",
    "/margay/v1/ippools/a/b",
    "/margay/v1/networkpolicies/a",
    "/calico/v1/ippools/p",
  ])("%s is no resource's", (key) => {
    expect(parseKey(key)).toBeUndefined();
  });

  test("a namespace must fit the kind", () => {
    expect(() => keyOf("IPPool", "p", "shop")).toThrow(RangeError);
    expect(() => keyOf("NetworkPolicy", "p")).toThrow(RangeError);
  });
});

test.each<[string, string, string]>([
  ["text that is no JSON", "/margay/v1/ippools/p", "{"],
  ["JSON that is no resource", "/margay/v1/ippools/p", "[]"],
  ["a resource of another kind", "/margay/v1/ippools/p", JSON.stringify(document("Tier", {}, "p"))],
  [
    "of another name",
    "/margay/v1/ippools/q",
    JSON.stringify(document("IPPool", { cidr: "10.0.0.0/16" }, "p")),
  ],
  ["a key of no kind", "/margay/v1/x/q", "{}"],
])("a datastore value is corrupt: %s", (_why, key, value) => {
  expect(() => decode(key, value)).toThrow(expect.objectContaining({ code: "corrupt", origin: key }));
});

test("a pattern of interfaces that was written before it was refused is read as it is, so that it stays in force", () => {
  const stored = document("HostEndpoint", { node: "n1", interfaceName: "eth+" }, "a");
  expect(decode("/margay/v1/hostendpoints/a", JSON.stringify(stored)).spec).toMatchObject({
    interfaceName: "eth+",
  });
});

test.each<[why: string, rule: object, nowhere: string]>([
  ["", {}, "255.255.255.255/32"],
  ["of IPv6", { ipVersion: 6 }, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"],
  [
    "from networks of IPv6",
    { source: { nets: ["fd00::/8"] } },
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
  ],
  ["of ICMPv6", { protocol: "ICMPv6" }, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"],
  [
    "of IPv6, as it was written",
    { ipVersion: 6, destination: { domains: ["a.example"], nets: ["255.255.255.255/32"] } },
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
  ],
])(
  "a rule with domains %s goes nowhere where a version before reads it, and is taken again as it is stored",
  (_why, rule, nowhere) => {
    for (const kind of [
      "GlobalNetworkPolicy",
      "NetworkPolicy",
      "Profile",
      "StagedNetworkPolicy",
      "StagedGlobalNetworkPolicy",
    ] as const) {
      const domains = { action: "Allow", destination: { domains: ["a.example"] }, ...rule };
      const { resource, warnings } = parse(document(kind, { egress: [domains, { action: "Deny" }] }, "a"));
      const egress = [
        { ...domains, destination: { domains: ["a.example"], nets: [nowhere] } },
        { action: "Deny" },
      ];
      expect(resource.spec).toMatchObject({ egress });
      expect(warnings).toEqual([]);
      expect(parse(resource).resource).toEqual(resource);
    }
  },
);

test.each<[why: string, kind: "GlobalNetworkPolicy" | "NetworkPolicy" | "Profile", spec: object]>([
  [
    "in a Deny, beside nets",
    "GlobalNetworkPolicy",
    { egress: [{ action: "Deny", destination: { nets: ["10.0.0.0/8"], domains: ["x.org"] } }] },
  ],
  ["of who sends", "NetworkPolicy", { ingress: [{ action: "Allow", source: { domains: ["x.org"] } }] }],
  ["none, or no names", "Profile", { egress: [{ action: "Allow", destination: { domains: ["x", ""] } }] }],
])("domains that were written before they had a meaning are read as they are: %s", (_why, kind, spec) => {
  const stored = document(kind, spec, "a");
  const key = keyOf(kind, "a", kind === "NetworkPolicy" ? "default" : undefined);
  expect(decode(key, JSON.stringify(stored)).spec).toMatchObject(spec);
  expect(() => parse(stored)).toThrow(expect.objectContaining({ code: "invalid" }));
});

test("of settings, what can be read is kept beside a field that cannot", () => {
  const key = "/margay/v1/felixconfigurations/default";
  const stored = document("FelixConfiguration", { natOutgoingInterfaceFilter: "a b", vxlanVNI: 7 });
  expect(() => decode(key, JSON.stringify(stored))).toThrow(
    expect.objectContaining({
      issues: [expect.objectContaining({ path: "spec.natOutgoingInterfaceFilter" })],
      readable: expect.objectContaining({ spec: { vxlanVNI: 7 } }),
    }),
  );
  const elsewhere = { ...stored, metadata: { name: "other" } };
  expect(() => decode(key, JSON.stringify(elsewhere))).toThrow(
    expect.objectContaining({ code: "corrupt", readable: undefined }),
  );
});

describe("effective: default, then node.<name>, then built-in defaults", () => {
  const configuration = (name: string, spec: object) =>
    parse(document("FelixConfiguration", spec, name)).resource;

  test("nothing stored", () => {
    expect(effective("FelixConfiguration", [], "n1")).toMatchObject({
      interfacePrefix: "cali",
      ipv6Support: true,
      iptablesMarkMask: 0xffff0000,
    });
    expect(effective("BGPConfiguration", [], "n1")).toMatchObject({
      asNumber: 64512,
      nodeToNodeMeshEnabled: true,
      listenPort: 179,
    });
  });

  test("what the node's object leaves unsaid comes from default, not from the built-in defaults", () => {
    const all = [
      configuration("default", { ipv6Support: false, logPrefix: "all" }),
      configuration("node.n1", { logPrefix: "one" }),
      configuration("node.n2", { ipv6Support: true }),
    ];
    expect(effective("FelixConfiguration", all, "n1")).toMatchObject({
      ipv6Support: false,
      logPrefix: "one",
    });
    expect(effective("FelixConfiguration", all, "n3")).toMatchObject({
      ipv6Support: false,
      logPrefix: "all",
    });
  });
});
