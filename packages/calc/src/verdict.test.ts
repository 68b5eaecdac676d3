import { describe, expect, test } from "@jest/globals";
import { parseAddress } from "@margay/net";
import { Calc, type Update } from "./calc.ts";
import type { Packet } from "./match.ts";
import { gnetset, gnp, namespace, netset, np, pod, profile, tier } from "./testing/resources.ts";
import { forward, type Verdict, verdict } from "./verdict.ts";

/**
 * One cluster, one packet, one policy set per row. `a/web` (10.0.0.1) is asked about packets that reach it; the senders
 * are a/client 10.0.0.2, b/client 10.0.0.3 and the outside.
 */
const cluster: readonly Update[] = [
  namespace("a", { team: "blue" }),
  namespace("b", { team: "red" }),
  pod("a/web", ["10.0.0.1", "fd00::1"], {
    labels: { app: "web" },
    spec: { ports: [{ name: "http", protocol: "TCP", port: 8080 }], mac: "02:00:00:00:00:01" },
  }),
  pod("a/client", ["10.0.0.2", "fd00::2"], {
    labels: { app: "client" },
    node: "n2",
    spec: { serviceAccountName: "sa1" },
  }),
  pod("b/client", ["10.0.0.3", "fd00::3"], { labels: { app: "client" }, node: "n2" }),
];

const TCP = 6;
const packet = (from: string, port = 80, more: Partial<Packet> = {}): Packet => ({
  source: parseAddress(from),
  destination: parseAddress(from.includes(":") ? "fd00::1" : "10.0.0.1"),
  ...{ protocol: TCP, sourcePort: 40000, destinationPort: port },
  ...more,
});

const ping = (type: number, code = 0): Packet => ({
  ...{ source: parseAddress("10.0.0.2"), destination: parseAddress("10.0.0.1") },
  ...{ protocol: 1, icmp: { type, code } },
});

function ask(
  updates: readonly Update[],
  asked: Packet,
  direction: "ingress" | "egress" = "ingress",
): Verdict {
  const calc = new Calc("n1");
  calc.apply([...cluster, ...updates]);
  return verdict(calc.state(), asked, { endpoint: "a/web", direction });
}

const web = { selector: "app == 'web'" };
const allow = (source: object, more: object = {}) => ({
  ...web,
  ingress: [{ action: "Allow", source, ...more }],
});
const tcp = (destination: object) => ({ protocol: "TCP", destination });
const named = (...ports: (number | string)[]) => allow({}, tcp({ ports }));

type Row = [why: string, updates: readonly Update[], asked: Packet, verdict: "allow" | "deny", rule: string];

describe("which policy decides (calico.md §4.4)", () => {
  test.each<Row>([
    [
      "no policy selects it: its namespace's profile allows",
      [],
      packet("10.9.9.9"),
      "allow",
      "profile/kns.a/in/0",
    ],
    [
      "a policy without rules selects it: the default tier denies",
      [np("a/p", web)],
      packet("10.0.0.2"),
      "deny",
      "tier/default/in/default",
    ],
    [
      "a policy of another namespace does not select it",
      [np("b/p", web)],
      packet("10.0.0.2"),
      "allow",
      "profile/kns.a/in/0",
    ],
    [
      "a policy for the other direction says nothing about this one",
      [np("a/p", { ...web, types: ["Egress"] })],
      packet("10.0.0.2"),
      "allow",
      "profile/kns.a/in/0",
    ],
    [
      "lower order is asked first",
      [
        gnp("a", { ...web, order: 2, ingress: [{ action: "Deny" }] }),
        gnp("b", { ...web, order: 1, ingress: [{ action: "Allow" }] }),
      ],
      packet("10.0.0.2"),
      "allow",
      "gnp/b/in/0",
    ],
    [
      "absent order comes last",
      [
        gnp("a", { ...web, ingress: [{ action: "Deny" }] }),
        gnp("b", { ...web, order: 9e9, ingress: [{ action: "Allow" }] }),
      ],
      packet("10.0.0.2"),
      "allow",
      "gnp/b/in/0",
    ],
    [
      "equal orders go by name",
      [
        gnp("b", { ...web, order: 1, ingress: [{ action: "Allow" }] }),
        gnp("a", { ...web, order: 1, ingress: [{ action: "Deny" }] }),
      ],
      packet("10.0.0.2"),
      "deny",
      "gnp/a/in/0",
    ],
    [
      "the first matching rule wins",
      [
        gnp("p", {
          ...web,
          ingress: [{ action: "Deny", source: { nets: ["10.0.0.2/32"] } }, { action: "Allow" }],
        }),
      ],
      packet("10.0.0.2"),
      "deny",
      "gnp/p/in/0",
    ],
    [
      "Log goes on with the next rule",
      [gnp("p", { ...web, ingress: [{ action: "Log" }, { action: "Allow" }] })],
      packet("10.0.0.2"),
      "allow",
      "gnp/p/in/1",
    ],
    [
      "a tier of lower order comes first",
      [
        tier("early", { order: 1 }),
        gnp("e", { ...web, tier: "early", ingress: [{ action: "Allow" }] }),
        gnp("d", { ...web, ingress: [{ action: "Deny" }] }),
      ],
      packet("10.0.0.2"),
      "allow",
      "gnp/e/in/0",
    ],
    [
      "Pass leaves the tier for the next",
      [
        tier("early", { order: 1 }),
        gnp("e", { ...web, tier: "early", ingress: [{ action: "Pass" }, { action: "Deny" }] }),
        gnp("d", allow({})),
      ],
      packet("10.0.0.2"),
      "allow",
      "gnp/d/in/0",
    ],
    [
      "Pass skips the tier's other policies",
      [
        tier("early", { order: 1 }),
        gnp("e", { ...web, order: 1, tier: "early", ingress: [{ action: "Pass" }] }),
        gnp("f", { ...web, order: 2, tier: "early", ingress: [{ action: "Deny" }] }),
      ],
      packet("10.0.0.2"),
      "allow",
      "profile/kns.a/in/0",
    ],
    [
      "no match in a tier: its default Deny",
      [
        tier("early", { order: 1 }),
        gnp("e", { ...allow({ nets: ["10.9.0.0/16"] }), tier: "early" }),
        gnp("d", allow({})),
      ],
      packet("10.0.0.2"),
      "deny",
      "tier/early/in/default",
    ],
    [
      "no match in a tier: its default Pass",
      [
        tier("early", { order: 1, defaultAction: "Pass" }),
        gnp("e", { ...allow({ nets: ["10.9.0.0/16"] }), tier: "early" }),
        gnp("d", allow({})),
      ],
      packet("10.0.0.2"),
      "allow",
      "gnp/d/in/0",
    ],
    [
      "a tier without a policy for the endpoint does not count",
      [
        tier("early", { order: 1 }),
        gnp("e", { selector: "app == 'db'", tier: "early", ingress: [{ action: "Deny" }] }),
      ],
      packet("10.0.0.2"),
      "allow",
      "profile/kns.a/in/0",
    ],
    [
      "the baseline tier is asked after the default tier has passed",
      [
        gnp("d", { ...web, ingress: [{ action: "Pass" }] }),
        gnp("b", { ...web, tier: "kube-baseline", ingress: [{ action: "Deny" }] }),
      ],
      packet("10.0.0.2"),
      "deny",
      "gnp/b/in/0",
    ],
    [
      "profiles in order, the first match",
      [profile("kns.a", { ingress: [{ action: "Deny", source: { nets: ["10.0.0.2/32"] } }] })],
      packet("10.0.0.2"),
      "deny",
      "profile/kns.a/in/0",
    ],
    ["no profile matches: drop", [profile("kns.a", {})], packet("10.0.0.2"), "deny", "profiles/in/no-match"],
  ])("%s", (_why, updates, asked, expected, rule) => {
    const { verdict, steps } = ask(updates, asked);
    expect({ verdict, rule: steps.at(-1)?.rule }).toEqual({ verdict: expected, rule });
  });
});

describe("what a rule matches", () => {
  type Match = [why: string, updates: readonly Update[], asked: Packet, verdict: "allow" | "deny"];
  const p = (spec: object) => [np("a/p", { ...spec })];
  const g = (spec: object) => [gnp("p", { ...spec })];
  test.each<Match>([
    ["absent source: anybody", p(allow({})), packet("8.8.8.8"), "allow"],
    [
      "empty lists are as if absent",
      p(allow({ nets: [], notNets: [] }, tcp({ ports: [] }))),
      packet("8.8.8.8"),
      "allow",
    ],
    [
      "a selector in a namespaced policy means its own namespace",
      p(allow({ selector: "app == 'client'" })),
      packet("10.0.0.2"),
      "allow",
    ],
    ["... and no other", p(allow({ selector: "app == 'client'" })), packet("10.0.0.3"), "deny"],
    [
      "all() in a namespaced policy is all of the namespace, not the outside",
      p(allow({ selector: "all()" })),
      packet("8.8.8.8"),
      "deny",
    ],
    [
      "a namespaceSelector reaches others",
      p(allow({ selector: "app == 'client'", namespaceSelector: "team == 'red'" })),
      packet("10.0.0.3"),
      "allow",
    ],
    [
      "... and then only those",
      p(allow({ selector: "app == 'client'", namespaceSelector: "team == 'red'" })),
      packet("10.0.0.2"),
      "deny",
    ],
    [
      "namespaceSelector all(): every pod, not the outside",
      p(allow({ namespaceSelector: "all()" })),
      packet("8.8.8.8"),
      "deny",
    ],
    [
      "namespaceSelector alone: all its pods",
      p(allow({ namespaceSelector: "projectcalico.org/name == 'b'" })),
      packet("10.0.0.3"),
      "allow",
    ],
    [
      "global(): what lives in no namespace",
      [...p(allow({ namespaceSelector: "global()" })), gnetset("s", {}, ["8.8.0.0/16"])],
      packet("8.8.8.8"),
      "allow",
    ],
    [
      "... so not a pod",
      [...p(allow({ namespaceSelector: "global()" })), gnetset("s", {}, ["8.8.0.0/16"])],
      packet("10.0.0.3"),
      "deny",
    ],
    [
      "a global policy's selector means the cluster",
      g(allow({ selector: "app == 'client'" })),
      packet("10.0.0.3"),
      "allow",
    ],
    [
      "a network set is selected by its labels",
      [...g(allow({ selector: "role == 'dns'" })), gnetset("s", { role: "dns" }, ["8.8.0.0/16"])],
      packet("8.8.8.8"),
      "allow",
    ],
    [
      "a namespace's network set is not seen from another",
      [...p(allow({ selector: "role == 'dns'" })), netset("b/s", { role: "dns" }, ["8.8.0.0/16"])],
      packet("8.8.8.8"),
      "deny",
    ],
    [
      "... but in its own",
      [...p(allow({ selector: "role == 'dns'" })), netset("a/s", { role: "dns" }, ["8.8.0.0/16"])],
      packet("8.8.8.8"),
      "allow",
    ],
    [
      "the IPv6 address of a selected pod is selected too",
      p(allow({ selector: "app == 'client'" })),
      packet("fd00::2"),
      "allow",
    ],
    ["notSelector excludes", g(allow({ notSelector: "app == 'client'" })), packet("10.0.0.3"), "deny"],
    ["... only what it selects", g(allow({ notSelector: "app == 'client'" })), packet("8.8.8.8"), "allow"],
    [
      "notSelector in a namespaced policy stays in the namespace",
      p(allow({ notSelector: "app == 'x'" })),
      packet("8.8.8.8"),
      "deny",
    ],
    [
      "service account by name",
      p(allow({ serviceAccounts: { names: ["sa1"] } })),
      packet("10.0.0.2"),
      "allow",
    ],
    [
      "a pod label cannot pretend a service account",
      [
        ...p(allow({ serviceAccounts: { names: ["sa1"] } })),
        pod("a/fake", ["10.0.0.9"], { labels: { "projectcalico.org/serviceaccount": "sa1" } }),
      ],
      packet("10.0.0.9"),
      "deny",
    ],
    [
      "... nor a namespace's label",
      [
        ...p(allow({ namespaceSelector: "team == 'green'" })),
        pod("a/fake", ["10.0.0.9"], { labels: { "pcns.team": "green" } }),
      ],
      packet("10.0.0.9"),
      "deny",
    ],
    [
      "nets: inside one of them",
      p(allow({ nets: ["192.0.2.0/24", "8.0.0.0/8"] })),
      packet("8.8.8.8"),
      "allow",
    ],
    [
      "notNets: ipBlock except",
      p(allow({ nets: ["8.0.0.0/8"], notNets: ["8.8.0.0/16"] })),
      packet("8.8.8.8"),
      "deny",
    ],
    ["IPv4 nets match no IPv6 packet", p(allow({ nets: ["0.0.0.0/0"] })), packet("fd00::2"), "deny"],
    [
      "IPv4 notNets do not exclude IPv6 packets",
      p(allow({ notNets: ["10.0.0.0/8"] })),
      packet("fd00::2"),
      "allow",
    ],
    ["ipVersion", p(allow({}, { ipVersion: 6 })), packet("10.0.0.2"), "deny"],
    ["protocol by name", p(allow({}, { protocol: "UDP" })), packet("10.0.0.2"), "deny"],
    ["protocol by number", p(allow({}, { protocol: 6 })), packet("10.0.0.2"), "allow"],
    ["notProtocol", p(allow({}, { notProtocol: "TCP" })), packet("10.0.0.2"), "deny"],
    ["port range, both ends included", p(named("80:90")), packet("10.0.0.2", 90), "allow"],
    ["any of several ports", p(named(22, "80:90", 443)), packet("10.0.0.2", 443), "allow"],
    ["a named port is that of the destination pod", p(named("http")), packet("10.0.0.2", 8080), "allow"],
    ["... beside numbers", p(named("http", 80)), packet("10.0.0.2", 80), "allow"],
    ["... and no other port", p(named("http")), packet("10.0.0.2", 80), "deny"],
    [
      "... of the rule's protocol",
      p(allow({}, { protocol: "UDP", destination: { ports: ["http"] } })),
      packet("10.0.0.2", 8080, { protocol: 17 }),
      "deny",
    ],
    ["a named port that nobody has matches nothing", p(named("nobody")), packet("10.0.0.2"), "deny"],
    ["notPorts", p(allow({}, tcp({ notPorts: [80] }))), packet("10.0.0.2", 80), "deny"],
    ["notPorts by name", p(allow({}, tcp({ notPorts: ["http"] }))), packet("10.0.0.2", 8080), "deny"],
    ["source ports", p(allow({ ports: ["1:1023"] }, { protocol: "TCP" })), packet("10.0.0.2"), "deny"],
    ["ICMP type", p(allow({}, { protocol: "ICMP", icmp: { type: 8 } })), ping(8), "allow"],
    ["ICMP code", p(allow({}, { protocol: "ICMP", icmp: { type: 3, code: 4 } })), ping(3, 1), "deny"],
    ["notICMP", p(allow({}, { protocol: "ICMP", notICMP: { type: 8 } })), ping(8), "deny"],
    [
      "TCP has no ICMP type",
      p(allow({}, { protocol: "ICMP", icmp: { type: 8 } })),
      packet("10.0.0.2"),
      "deny",
    ],
    [
      "both sides have to match",
      p({
        ...web,
        ingress: [
          {
            action: "Allow",
            source: { selector: "app == 'client'" },
            destination: { nets: ["10.0.0.9/32"] },
          },
        ],
      }),
      packet("10.0.0.2"),
      "deny",
    ],
  ])("%s", (_why, updates, asked, expected) => {
    expect(ask(updates, asked).verdict).toBe(expected);
  });
});

describe("what cannot be resolved is closed, and named", () => {
  const unknownPod = { key: "/margay/v1/globalnetworkpolicies/p", corrupt: "not JSON" };
  test.each<
    [why: string, updates: readonly Update[], rule: string, problem: { subject: string; why: string }]
  >([
    [
      "a profile that does not exist",
      [{ key: "/margay/v1/profiles/kns.a" }],
      "workload/unresolved",
      { subject: "a/web", why: "there is no profile kns.a" },
    ],
    [
      "a policy in a tier that does not exist, whatever other tiers say",
      [gnp("p", { ...allow({}), tier: "nowhere" }), gnp("q", { ...allow({}), tier: "kube-admin" })],
      "gnp/p/in/0",
      { subject: "gnp/p", why: "there is no tier nowhere" },
    ],
    ["a policy that cannot be read", [unknownPod], "gnp/p/in/0", { subject: "gnp/p", why: "not JSON" }],
    [
      "two endpoints that claim one interface",
      [pod("a/web2", ["10.0.0.7"], { spec: { interfaceName: "caliaweb" } })],
      "workload/unresolved",
      { subject: "a/web", why: "interface caliaweb is also that of a/web2" },
    ],
  ])("%s", (_why, updates, rule, problem) => {
    const calc = new Calc("n1");
    calc.apply([...cluster, ...updates]);
    const { verdict: found, steps } = verdict(calc.state(), packet("10.0.0.2"), {
      endpoint: "a/web",
      direction: "ingress",
    });
    expect({ found, rule: steps.at(-1)?.rule }).toEqual({ found: "deny", rule });
    expect(calc.state().problems).toContainEqual(problem);
  });
});

describe("a forwarded packet", () => {
  const calc = new Calc("n1");
  calc.apply([
    ...cluster,
    pod("a/near", ["10.0.0.4"], { labels: { app: "near" } }),
    np("a/out", {
      selector: "app == 'near'",
      types: ["Egress"],
      egress: [{ action: "Allow", protocol: "TCP", destination: { ports: [80] } }],
    }),
    np("a/in", { ...web, ingress: [{ action: "Allow", source: { selector: "app == 'near'" } }] }),
  ]);
  const go = (from: string, port: number, journey: Parameters<typeof forward>[2]) => {
    const { verdict, steps } = forward(calc.state(), packet(from, port), journey);
    return [verdict, steps.at(-1)?.rule];
  };
  test("passes the sender's egress and the receiver's ingress policy", () => {
    expect(go("10.0.0.4", 80, { fromInterface: "calianear", toInterface: "caliaweb" })).toEqual([
      "allow",
      "np/a/in/in/0",
    ]);
  });
  test("stops at the sender's egress policy", () => {
    expect(go("10.0.0.4", 81, { fromInterface: "calianear", toInterface: "caliaweb" })).toEqual([
      "deny",
      "tier/default/out/default",
    ]);
  });
  test("stops at the receiver's ingress policy", () => {
    expect(go("10.0.0.2", 80, { toInterface: "caliaweb" })).toEqual(["deny", "tier/default/in/default"]);
  });
  test("stops if its source is not the sender's", () => {
    expect(go("10.0.0.2", 80, { fromInterface: "calianear", toInterface: "caliaweb" })).toEqual([
      "deny",
      "workload/spoofed-address",
    ]);
  });
  test("stops if its MAC is not the sender's", () => {
    expect(go("10.0.0.1", 80, { fromInterface: "caliaweb", sourceMac: "02:00:00:00:00:02" })).toEqual([
      "deny",
      "workload/spoofed-mac",
    ]);
  });
  test("stops at an interface that is nobody's", () => {
    expect(go("10.0.0.4", 80, { fromInterface: "calinobody" })).toEqual([
      "deny",
      "workload/unknown-interface",
    ]);
  });
});
