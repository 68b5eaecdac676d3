import { describe, expect, test } from "@jest/globals";
import type { Update } from "./calc.ts";
import { explain } from "./explain.ts";
import type { Question } from "./explanation.ts";
import { placeOf } from "./place.ts";
import { survey } from "./survey.ts";
import {
  affinity,
  felix,
  gnp,
  hep,
  host,
  namespace,
  np,
  pod,
  pool,
  staged,
  tier,
} from "./testing/resources.ts";

const WEB = pod("shop/web", ["10.0.1.2", "fd00::1:2"], { labels: { app: "web" } });
const DB = pod("shop/db", ["10.0.2.3", "fd00::2:3"], { labels: { app: "db" }, node: "n2" });
const MON = pod("ops/mon", ["10.0.1.9"], { labels: { app: "mon" } });
const CLUSTER: readonly Update[] = [
  ...[host("n1", "172.20.0.11/24"), host("n2", "172.20.0.12/24")],
  ...[
    pool("p4", { cidr: "10.0.0.0/16", natOutgoing: true }),
    pool("p6", { cidr: "fd00::/112", blockSize: 122 }),
  ],
  ...[affinity("n1", "10.0.1.0/26"), affinity("n2", "10.0.2.0/26"), affinity("n2", "fd00::2:0/122")],
  ...[namespace("shop"), namespace("ops"), WEB, DB, MON],
];

const ALLOWED = { allowVXLANPacketsFromWorkloads: true, defaultEndpointToHostAction: "Accept" };
const TCP80 = { protocol: 6, sourcePort: 50000, destinationPort: 80 };

function told(ends: string, more: readonly Update[] = [], packet: Partial<Question> = TCP80) {
  const [source = "", destination = ""] = ends.split(" > ");
  const cluster = survey([...CLUSTER, ...more]);
  const places = { source: placeOf(source, cluster), destination: placeOf(destination, cluster) };
  const found = explain(cluster, { protocol: 6, ...packet, ...places });
  const steps = found.steps.map((step) => `${"node" in step ? step.node : "-"} ${step.kind}: ${step.text}`);
  return { ...found, lines: [...steps, `${found.verdict}: ${found.because}`] };
}

const DB_POLICY = np("shop/db", {
  selector: "app == 'db'",
  types: ["Ingress"],
  ingress: [
    { action: "Deny", protocol: "TCP", destination: { ports: [22] } },
    { action: "Allow", protocol: "TCP", source: { selector: "app == 'web'" }, destination: { ports: [80] } },
  ],
});
const revised = {
  ...DB_POLICY,
  value: { ...DB_POLICY.value, metadata: { ...DB_POLICY.value?.metadata, resourceVersion: "42" } },
} as Update;

const BY_PROFILE = (direction: string, name: string) => `allow by profile/kns.${name}, ${direction} rule 0`;

describe("every step of a packet, in words", () => {
  test.each<[why: string, ends: string, more: readonly Update[], lines: readonly string[]]>([
    [
      "no policy: profiles allow; the remote block's route is bgpd's",
      "shop/web > shop/db",
      [],
      [
        `n1 policy: ${BY_PROFILE("egress", "shop")}`,
        "n1 route: 10.0.2.0/26 of n2, by bgp (bgpd writes the route)",
        "n2 route: a pod of this node: its own route",
        "n1 nat: none: 10.0.2.3 lies in pool p4",
        `n2 policy: ${BY_PROFILE("ingress", "shop")}`,
        "- answer: pass as part of the connection; on n2: 10.0.1.0/26 of n1, by bgp (bgpd writes the route)",
        `allowed: egress: ${BY_PROFILE("egress", "shop")}; ingress: ${BY_PROFILE("ingress", "shop")}`,
      ],
    ],
    [
      "the deciding rule with its policy, place and revision",
      "10.0.1.2 > 10.0.2.3",
      [revised],
      [
        `n1 policy: ${BY_PROFILE("egress", "shop")}`,
        "n1 route: 10.0.2.0/26 of n2, by bgp (bgpd writes the route)",
        "n2 route: a pod of this node: its own route",
        "n1 nat: none: 10.0.2.3 lies in pool p4",
        "n2 policy: allow by np/shop/db (revision 42), ingress rule 1 (tier default)",
        "- answer: pass as part of the connection; on n2: 10.0.1.0/26 of n1, by bgp (bgpd writes the route)",
        `allowed: egress: ${BY_PROFILE("egress", "shop")}; ingress: allow by np/shop/db (revision 42), ingress rule 1 (tier default)`,
      ],
    ],
    [
      "what no rule matched falls to the tier's default",
      "ops/mon > shop/db",
      [revised],
      [
        `n1 policy: ${BY_PROFILE("egress", "ops")}`,
        "n1 route: 10.0.2.0/26 of n2, by bgp (bgpd writes the route)",
        "n2 route: a pod of this node: its own route",
        "n1 nat: none: 10.0.2.3 lies in pool p4",
        "n2 policy: no rule of np/shop/db (revision 42) matches",
        "n2 policy: deny by default of tier default: no rule of np/shop/db matched",
        "denied: ingress of shop/db on n2: deny by default of tier default: no rule of np/shop/db matched",
      ],
    ],
    [
      "an egress Deny ends it before any route; an earlier tier passes",
      "web > 192.0.2.1",
      [
        tier("first", { order: 1 }),
        gnp("out", { tier: "first", types: ["Egress"], egress: [{ action: "Pass" }] }),
        np("shop/out", {
          types: ["Egress"],
          egress: [{ action: "Deny", destination: { nets: ["192.0.2.0/24"] } }],
        }),
      ],
      [
        "n1 policy: pass by gnp/out, egress rule 0 (tier first)",
        "n1 policy: deny by np/shop/out, egress rule 0 (tier default)",
        "denied: egress of shop/web on n1: deny by np/shop/out, egress rule 0 (tier default)",
      ],
    ],
    [
      "to the outside: translated",
      "shop/web > 192.0.2.1",
      [],
      [
        `n1 policy: ${BY_PROFILE("egress", "shop")}`,
        "n1 route: by the node's own routes: it is outside all pools",
        "n1 nat: the source becomes 172.20.0.11: natOutgoing of pool p4",
        "- answer: pass as part of the connection",
        `allowed: egress: ${BY_PROFILE("egress", "shop")}`,
      ],
    ],
    [
      "to another node: translated, and no endpoint there",
      "shop/web > n2",
      [],
      [
        `n1 policy: ${BY_PROFILE("egress", "shop")}`,
        "n1 route: by the node's own routes: it is an address of node n2",
        "n1 nat: the source becomes 172.20.0.11: natOutgoing of pool p4",
        "- answer: pass as part of the connection",
        `allowed: egress: ${BY_PROFILE("egress", "shop")}`,
      ],
    ],
    [
      "to its own node: not unless the configuration says so",
      "shop/web > n1",
      [],
      [
        `n1 policy: ${BY_PROFILE("egress", "shop")}`,
        "n1 route: an address of this node",
        "n1 host: defaultEndpointToHostAction is Drop",
        "denied: to node n1 itself: defaultEndpointToHostAction is Drop",
      ],
    ],
    [
      "a node reaches its own pods whatever their policy",
      "n2 > shop/db",
      [DB_POLICY],
      [
        "n2 route: a pod of this node: its own route",
        "n2 host: a node always reaches its own pods",
        "- answer: pass as part of the connection",
        "allowed: shop/db on n2: a node always reaches its own pods",
      ],
    ],
    [
      "another node does not",
      "n1 > shop/db",
      [DB_POLICY],
      [
        "n1 route: 10.0.2.0/26 of n2, by bgp (bgpd writes the route)",
        "n2 route: a pod of this node: its own route",
        "n2 policy: no rule of np/shop/db matches",
        "n2 policy: deny by default of tier default: no rule of np/shop/db matched",
        "denied: ingress of shop/db on n2: deny by default of tier default: no rule of np/shop/db matched",
      ],
    ],
    [
      "a free address of a remote block",
      "shop/web > 10.0.2.60",
      [],
      [
        `n1 policy: ${BY_PROFILE("egress", "shop")}`,
        "n1 route: 10.0.2.0/26 of n2, by bgp (bgpd writes the route)",
        "n2 route: blackhole 10.0.2.0/26: this node's block, and no pod has the address",
        "unreachable: no pod has 10.0.2.60: it is a free address of 10.0.2.0/26",
      ],
    ],
    [
      "a pool that is not announced",
      "shop/web > shop/db",
      [pool("p4", { cidr: "10.0.0.0/16", disableBGPExport: true })],
      [
        `n1 policy: ${BY_PROFILE("egress", "shop")}`,
        "n1 route: by the node's own routes: 10.0.2.0/26 of n2 is not announced: pool p4 has disableBGPExport",
        "n1 nat: none: pool p4 has no natOutgoing",
        `n2 policy: ${BY_PROFILE("ingress", "shop")}`,
        "- answer: pass as part of the connection; on n2: by the node's own routes: 10.0.1.0/26 of n1 is not announced: pool p4 has disableBGPExport",
        `allowed: egress: ${BY_PROFILE("egress", "shop")}; ingress: ${BY_PROFILE("ingress", "shop")}`,
      ],
    ],
  ])("%s", (_why, ends, more, lines) => {
    expect(told(ends, more).lines).toEqual(lines);
  });
});

describe("verdicts", () => {
  test.each<[why: string, ends: string, more: readonly Update[], packet: Partial<Question>, verdict: string]>(
    [
      ["from outside to an open pod", "192.0.2.1 > shop/db", [], TCP80, "allowed"],
      ["from outside to a closed one", "192.0.2.1 > shop/db", [DB_POLICY], TCP80, "denied"],
      ["a pod to itself", "shop/db > shop/db", [DB_POLICY], TCP80, "allowed"],
      ["two pods of a node", "shop/web > ops/mon", [], TCP80, "allowed"],
      ["the wrong port", "shop/web > shop/db", [DB_POLICY], { ...TCP80, destinationPort: 81 }, "denied"],
      ["a free address of the own block", "shop/web > 10.0.1.60", [], TCP80, "unreachable"],
      ["an address of the pool in no block", "shop/web > 10.0.9.1", [], TCP80, "unreachable"],
      ["from outside to a free address", "192.0.2.1 > 10.0.2.60", [], TCP80, "unreachable"],
      ["outside to outside is none of our business", "192.0.2.1 > 192.0.2.2", [], TCP80, "allowed"],
      ["IPv6 where asked for", "shop/web > shop/db", [], { ...TCP80, family: 6 }, "allowed"],
      [
        "IPv6 switched off",
        "shop/web > shop/db",
        [felix("default", { ipv6Support: false })],
        { ...TCP80, family: 6 },
        "denied",
      ],
      [
        "ICMP has a type",
        "shop/web > shop/db",
        [DB_POLICY],
        { protocol: 1, icmp: { type: 8, code: 0 } },
        "denied",
      ],
    ],
  )("%s", (_why, ends, more, packet, verdict) => {
    expect(told(ends, more, packet).verdict).toBe(verdict);
  });

  test("what is closed for want of something says so", () => {
    const closed = told("shop/web > shop/db", [{ key: "/margay/v1/profiles/kns.shop" }]);
    expect(closed.because).toContain("the endpoint being closed");
    expect(closed.problems).toEqual([{ subject: "shop/web", why: "there is no profile kns.shop" }]);
  });
});

describe("names", () => {
  const cluster = survey([...CLUSTER, pod("ops/db", ["10.0.1.8"]), pod("ops/n1", ["10.0.1.7"])]);
  test.each<[text: string, expected: object]>([
    ["shop/web", { kind: "pod", id: "shop/web", node: "n1" }],
    ["web", { kind: "pod", id: "shop/web" }],
    ["10.0.2.3", { kind: "pod", id: "shop/db" }],
    ["fd00::2:3", { kind: "pod", id: "shop/db" }],
    ["n2", { kind: "host", node: "n2" }],
    ["172.20.0.12", { kind: "host", node: "n2" }],
    ["192.0.2.1", { kind: "outside" }],
  ])("%s", (text, expected) => {
    expect(placeOf(text, cluster)).toMatchObject(expected);
  });

  test.each<[text: string, code: string, message: RegExp]>([
    ["db", "ambiguous", /^db may be shop\/db on n2, ops\/db on n1; say which, or give its address$/],
    ["n1", "ambiguous", /^n1 is a node and also a pod: ops\/n1 on n1; say namespace\/name$/],
    ["shop/wbe", "not-found", /^there is no pod, node or Service shop\/wbe, did you mean shop\/web\?$/],
    ["web/web", "not-found", /^there is no pod web\/web, but there is shop\/web$/],
    [
      "nowhere",
      "not-found",
      /^nowhere is no pod \(namespace\/name\), node or address; there are 5 pods and 2 nodes: n1, n2$/,
    ],
  ])("%s is refused", (text, code, message) => {
    expect(() => placeOf(text, cluster)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    );
  });

  test("no common family is refused", () => {
    expect(() => told("ops/mon > shop/db", [], { ...TCP80, family: 6 })).toThrow(
      "no common IPv6 address: ops/mon has 10.0.1.9, shop/db has 10.0.2.3 and fd00::2:3",
    );
  });
});

describe("host endpoints", () => {
  const ON_N2 = hep("n2", { node: "n2" }, { role: "node" });
  const nodes = { selector: "role == 'node'", types: ["Ingress"] };
  const onForward = gnp("f", {
    ...nodes,
    applyOnForward: true,
    ingress: [{ action: "Deny", source: { nets: ["10.0.1.2/32"] } }],
  });

  test("of the receiver's node decide on what it receives itself", () => {
    const { verdict, lines } = told("172.20.0.11 > 172.20.0.12", [ON_N2]);
    expect([verdict, lines.at(-2)]).toEqual([
      "denied",
      "n2 policy: deny by nothing allowing it: no policy selects the pod and no profile allows",
    ]);
  });
  test("leave failsafe ports open", () => {
    const ssh = { protocol: 6, sourcePort: 50_000, destinationPort: 22 };
    const { verdict, lines } = told("172.20.0.11 > 172.20.0.12", [ON_N2], ssh);
    expect([verdict, lines.at(-2)]).toEqual([
      "allowed",
      "n2 policy: allow by failsafe/in/tcp/22: a port that host endpoints leave open",
    ]);
  });
  test("... and on what it forwards to its pods, before these", () => {
    const { verdict, decidedBy } = told("shop/web > shop/db", [ON_N2, onForward]);
    expect({ verdict, decidedBy }).toMatchObject({
      verdict: "denied",
      decidedBy: { node: "n2", endpoint: "hep:n2", host: true, policy: "gnp/f", rule: "gnp/f/in/0" },
    });
    expect(told("ops/mon > shop/db", [ON_N2, onForward]).verdict).toBe("denied"); // by the tier's default
    expect(told("shop/web > shop/db", [ON_N2]).verdict).toBe("allowed");
  });
  const OTHER = hep("eth0", { node: "n2", interfaceName: "eth0" }, { role: "uplink" });
  test("several of a node are all asked: where they agree, it is so", () => {
    const { verdict, lines } = told("shop/web > shop/db", [ON_N2, OTHER]);
    expect(verdict).toBe("allowed");
    const asked = lines.filter((line) => line.includes("for what the node forwards"));
    expect(asked.length).toBe(3); // hep:eth0, hep:n2, and the sum
    const both = [ON_N2, OTHER, gnp("f", { ...onForward.value?.spec, selector: "has(role)" })];
    expect(told("shop/web > shop/db", both).verdict).toBe("denied");
  });
  test("... and where they do not, the interface decides, which nobody here knows", () => {
    const { verdict, because } = told("shop/web > shop/db", [ON_N2, OTHER, onForward]);
    expect({ verdict, because }).toEqual({
      verdict: "unknown",
      because:
        "ingress on n2: the interface decides, which the datastore does not know: hep:eth0 (eth0) would allow, hep:n2 (*) would deny",
    });
  });

  const untracked = (spec: object) => gnp("u", { ...nodes, doNotTrack: true, applyOnForward: true, ...spec });
  const ALLOW_80 = { action: "Allow", protocol: "TCP", destination: { ports: [80] } };
  const ANSWER_80 = { action: "Allow", protocol: "TCP", source: { ports: [80] } };
  test.each<[why: string, spec: object, verdict: string]>([
    ["without a rule of its own the answer is refused", { ingress: [ALLOW_80] }, "denied"],
    [
      "with one it passes",
      { types: ["Ingress", "Egress"], ingress: [ALLOW_80], egress: [ANSWER_80] },
      "allowed",
    ],
    [
      "one against it is asked even where the packet itself was tracked",
      { types: ["Egress"], egress: [{ ...ANSWER_80, action: "Deny" }] },
      "denied",
    ],
  ])("doNotTrack: %s", (_why, spec, verdict) => {
    const found = told("172.20.0.11 > 172.20.0.12", [
      ...[ON_N2, untracked(spec)],
      gnp("in", { ...nodes, ingress: [ALLOW_80] }),
    ]);
    expect({ verdict: found.verdict, lines: found.lines }).toEqual({ verdict, lines: found.lines });
    if (verdict === "denied") expect(found.because).toMatch(/^the answer, egress of hep:n2 on n2: deny by /);
  });
});

test.each<[why: string, ends: string, settings: Record<string, unknown>, rule: string | undefined]>([
  ["no pod sends VXLAN", "shop/web > n2", {}, "workload/vxlan"],
  ["... but where that is allowed, by its node's address", "shop/web > n2", ALLOWED, undefined],
  ["... never to its own node", "shop/web > n1", ALLOWED, "host/vxlan"],
  ["nor does anything outside", "192.0.2.9 > n1", {}, "host/vxlan"],
  ["nodes do", "n2 > n1", {}, undefined],
])("VXLAN: %s", (_why, ends, settings, rule) => {
  const vxlan = [pool("v", { cidr: "10.9.0.0/16", vxlanMode: "Always" }), felix("default", settings)];
  const { verdict, decidedBy, lines } = told(ends, vxlan, { protocol: 17, destinationPort: 4789 });
  const refused = decidedBy && "rule" in decidedBy && verdict === "denied" ? decidedBy.rule : undefined;
  expect({ lines, refused }).toEqual({ lines, refused: rule });
});

test("what staged policies would make of it is told beside", () => {
  expect(told("shop/web > shop/db").staged).toBeUndefined();
  const { verdict, staged: would } = told("shop/web > shop/db", [
    staged(np("shop/db", { selector: "app == 'db'" })),
  ]);
  expect(verdict).toBe("allowed");
  expect(would).toMatchObject({
    verdict: "denied",
    because:
      "ingress of shop/db on n2: deny by default of tier default: no rule of staged/np/shop/db matched",
    decidedBy: { rule: "tier/default/in/default" },
  });
});
