import { describe, expect, test } from "@jest/globals";
import { type AnyResource, parseFile } from "@margay/api";
import { parseAddress } from "@margay/net";
import { Calc } from "./calc.ts";
import { pod, put } from "./testing/resources.ts";
import { forward } from "./verdict.ts";

/**
 * The Kubernetes documentation's own examples ("Network Policies"), as YAML in, verdicts out: who reaches
 * default/db (10.0.0.1), and what it reaches.
 */
const CLUSTER = `
apiVersion: v1
kind: Namespace
metadata: {name: default, labels: {kubernetes.io/metadata.name: default}}
---
apiVersion: v1
kind: Namespace
metadata: {name: mine, labels: {project: myproject}}
`;

const POLICY = (spec: string) => `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: default}
spec:
${spec}`;

const resources = (text: string): AnyResource[] => parseFile(text, "test").map(({ resource }) => resource);

const pods = [
  pod("default/db", ["10.0.0.1", "fd00::1"], {
    labels: { role: "db" },
    spec: { ports: [{ name: "pg", protocol: "TCP", port: 5432 }] },
  }),
  pod("default/front", ["10.0.0.2", "fd00::2"], {
    labels: { role: "frontend" },
    spec: { ports: [{ name: "pg", protocol: "TCP", port: 6000 }] },
  }),
  pod("default/other", ["10.0.0.3"]),
  pod("mine/front", ["10.0.0.4"], { labels: { role: "frontend" } }),
  pod("mine/other", ["10.0.0.5"]),
];

const INTERFACES: Readonly<Record<string, string>> = {
  ...{
    "10.0.0.1": "calidefaultdb",
    "fd00::1": "calidefaultdb",
    "10.0.0.2": "calidefaultfron",
    "fd00::2": "calidefaultfron",
  },
  ...{ "10.0.0.3": "calidefaultothe", "10.0.0.4": "caliminefront", "10.0.0.5": "calimineother" },
};

/** `10.0.0.2 > 10.0.0.1 tcp 80` */
function isAllowed(spec: string, flow: string): boolean {
  const calc = new Calc("n1");
  calc.apply([...pods, ...resources(CLUSTER).map(put), ...resources(POLICY(spec)).map(put)]);
  const [from = "", , to = "", protocol, port] = flow.split(" ");
  const packet = {
    ...{ source: parseAddress(from), destination: parseAddress(to), protocol: protocol === "udp" ? 17 : 6 },
    ...{ sourcePort: 40000, destinationPort: Number(port) },
  };
  const [fromInterface, toInterface] = [INTERFACES[from], INTERFACES[to]];
  const journey = { ...(fromInterface && { fromInterface }), ...(toInterface && { toInterface }) };
  return forward(calc.state(), packet, journey).verdict === "allow";
}

const DB = "podSelector: {matchLabels: {role: db}}";
const TO_DB = {
  front: "10.0.0.2 > 10.0.0.1 tcp 80",
  other: "10.0.0.3 > 10.0.0.1 tcp 80",
  mineFront: "10.0.0.4 > 10.0.0.1 tcp 80",
  mineOther: "10.0.0.5 > 10.0.0.1 tcp 80",
  outside: "192.0.2.1 > 10.0.0.1 tcp 80",
};

describe("NetworkPolicy of Kubernetes, from YAML to verdict", () => {
  test.each<[why: string, spec: string, allowed: string[], denied: string[]]>([
    [
      "default deny all ingress",
      "  podSelector: {}\n  policyTypes: [Ingress]",
      ["10.0.0.1 > 192.0.2.1 tcp 80", "10.0.0.1 > 10.0.0.5 tcp 80"],
      [TO_DB.front, TO_DB.outside],
    ],
    [
      "allow all ingress",
      "  podSelector: {}\n  ingress: [{}]\n  policyTypes: [Ingress]",
      [TO_DB.front, TO_DB.outside],
      [],
    ],
    [
      "default deny all egress",
      "  podSelector: {}\n  policyTypes: [Egress]",
      [TO_DB.mineFront, TO_DB.outside],
      ["10.0.0.1 > 192.0.2.1 tcp 80", TO_DB.front],
    ],
    ["from: [] is from anybody", `  ${DB}\n  ingress: [{from: []}]`, [TO_DB.outside, TO_DB.other], []],
    [
      "podSelector: the policy's own namespace",
      `  ${DB}\n  ingress: [{from: [{podSelector: {matchLabels: {role: frontend}}}]}]`,
      [TO_DB.front, "fd00::2 > fd00::1 tcp 80"],
      [TO_DB.other, TO_DB.mineFront, TO_DB.outside],
    ],
    [
      "podSelector: {} is every pod of the namespace",
      `  ${DB}\n  ingress: [{from: [{podSelector: {}}]}]`,
      [TO_DB.front, TO_DB.other],
      [TO_DB.mineFront, TO_DB.outside],
    ],
    [
      "namespaceSelector: every pod of those namespaces",
      `  ${DB}\n  ingress: [{from: [{namespaceSelector: {matchLabels: {project: myproject}}}]}]`,
      [TO_DB.mineFront, TO_DB.mineOther],
      [TO_DB.front, TO_DB.outside],
    ],
    [
      "namespaceSelector: {} is every pod, and nobody outside",
      `  ${DB}\n  ingress: [{from: [{namespaceSelector: {}}]}]`,
      [TO_DB.front, TO_DB.mineOther],
      [TO_DB.outside],
    ],
    [
      "a namespace by its name",
      `  ${DB}\n  ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: mine}}}]}]`,
      [TO_DB.mineOther],
      [TO_DB.front],
    ],
    [
      "both in one item: and",
      `  ${DB}\n  ingress: [{from: [{namespaceSelector: {matchLabels: {project: myproject}}, podSelector: {matchLabels: {role: frontend}}}]}]`,
      [TO_DB.mineFront],
      [TO_DB.mineOther, TO_DB.front],
    ],
    [
      "in two items: or",
      `  ${DB}\n  ingress: [{from: [{namespaceSelector: {matchLabels: {project: myproject}}}, {podSelector: {matchLabels: {role: frontend}}}]}]`,
      [TO_DB.mineFront, TO_DB.mineOther, TO_DB.front],
      [TO_DB.other],
    ],
    [
      "ipBlock with except",
      `  ${DB}\n  ingress: [{from: [{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.128/25]}}]}]`,
      [TO_DB.outside],
      ["192.0.2.200 > 10.0.0.1 tcp 80", TO_DB.front],
    ],
    [
      "a port is TCP unless it says otherwise",
      `  ${DB}\n  ingress: [{ports: [{port: 80}]}]`,
      [TO_DB.outside],
      ["192.0.2.1 > 10.0.0.1 udp 80", "192.0.2.1 > 10.0.0.1 tcp 81"],
    ],
    [
      "endPort",
      `  ${DB}\n  ingress: [{ports: [{port: 32000, endPort: 32768}]}]`,
      ["192.0.2.1 > 10.0.0.1 tcp 32000", "192.0.2.1 > 10.0.0.1 tcp 32768"],
      ["192.0.2.1 > 10.0.0.1 tcp 32769"],
    ],
    [
      "a named port is each pod's own",
      "  podSelector: {}\n  ingress: [{ports: [{port: pg}]}]",
      ["192.0.2.1 > 10.0.0.1 tcp 5432", "192.0.2.1 > 10.0.0.2 tcp 6000"],
      ["192.0.2.1 > 10.0.0.1 tcp 6000", "192.0.2.1 > 10.0.0.2 tcp 5432"],
    ],
    [
      "a named port in egress is the destination's",
      `  ${DB}\n  policyTypes: [Egress]\n  egress: [{to: [{podSelector: {}}], ports: [{port: pg}]}]`,
      ["10.0.0.1 > 10.0.0.2 tcp 6000"],
      ["10.0.0.1 > 10.0.0.2 tcp 5432", "10.0.0.1 > 10.0.0.3 tcp 6000"],
    ],
    [
      "from and ports: and",
      `  ${DB}\n  ingress: [{from: [{podSelector: {matchLabels: {role: frontend}}}], ports: [{port: 6379}]}]`,
      ["10.0.0.2 > 10.0.0.1 tcp 6379"],
      [TO_DB.front, "10.0.0.3 > 10.0.0.1 tcp 6379"],
    ],
    [
      "egress rules alone do not say Egress is all: ingress is isolated too",
      `  ${DB}\n  egress: [{to: [{ipBlock: {cidr: 10.0.0.0/24}}], ports: [{port: 5978}]}]`,
      ["10.0.0.1 > 10.0.0.3 tcp 5978"],
      ["10.0.0.1 > 10.0.0.3 tcp 80", TO_DB.front],
    ],
  ])("%s", (_why, spec, allowed, denied) => {
    expect(allowed.filter((flow) => !isAllowed(spec, flow))).toEqual([]);
    expect(denied.filter((flow) => isAllowed(spec, flow))).toEqual([]);
  });
});
