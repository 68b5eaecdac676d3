import { describe, expect, test } from "@jest/globals";
import type { Update } from "./calc.ts";
import { explain } from "./explain.ts";
import type { Question } from "./explanation.ts";
import { placeOf } from "./place.ts";
import { survey } from "./survey.ts";
import {
  affinity,
  bgpSettings,
  felix,
  gnp,
  hep,
  host,
  namespace,
  np,
  pod,
  pool,
  service,
  slice,
} from "./testing/resources.ts";

/** Service shop/db, 10.96.0.5:80, is served at port 5432 by one pod on n2 and one on n1. */
const CLUSTER: readonly Update[] = [
  ...[host("n1", "172.20.0.11/24"), host("n2", "172.20.0.12/24")],
  pool("p4", { cidr: "10.0.0.0/16", natOutgoing: true }),
  ...[affinity("n1", "10.0.1.0/26"), affinity("n2", "10.0.2.0/26"), namespace("shop")],
  pod("shop/web", ["10.0.1.2"], { labels: { app: "web" } }),
  pod("shop/db1", ["10.0.1.3"], { labels: { app: "db", which: "1" } }),
  pod("shop/db2", ["10.0.2.3"], { labels: { app: "db", which: "2" }, node: "n2" }),
  service("shop/db", "10.96.0.5", { externalIPs: ["192.0.2.50"] }),
  slice("shop/db", ["10.0.1.3", "10.0.2.3"], [5432]),
];

function told(ends: string, more: readonly Update[] = [], packet: Partial<Question> = {}) {
  const [source = "", destination = ""] = ends.split(" > ");
  const cluster = survey([...CLUSTER, ...more]);
  const places = { source: placeOf(source, cluster), destination: placeOf(destination, cluster) };
  const flow = { protocol: 6, sourcePort: 50_000, destinationPort: 80 };
  return explain(cluster, { ...flow, ...packet, ...places });
}

const web = { selector: "app == 'web'", types: ["Egress"] };
const db = (which: string, ports: readonly number[]) =>
  np(`shop/db${which}`, {
    selector: `which == '${which}'`,
    ingress: [{ action: "Allow", protocol: "TCP", destination: { ports } }],
  });

describe("a packet for a Service is judged as the packet that it becomes", () => {
  test("each backend has its verdict, and the step that translates names it", () => {
    const { verdict, backends, steps } = told("shop/web > 10.96.0.5");
    expect({ verdict, backends }).toMatchObject({
      verdict: "allowed",
      backends: [
        { name: "shop/db1", address: "10.0.1.3:5432", verdict: "allowed" },
        { name: "shop/db2", address: "10.0.2.3:5432", verdict: "allowed" },
      ],
    });
    expect(steps[0]).toEqual({
      ...{ kind: "nat", node: "n1", destination: "10.0.1.3" },
      text: "the destination becomes 10.0.1.3:5432: a backend of service shop/db (kube-proxy's part)",
    });
  });

  test.each<[why: string, ends: string, more: readonly Update[], verdict: string, because: RegExp]>([
    [
      "egress sees the backend, not the cluster address",
      "shop/web > 10.96.0.5",
      [np("shop/out", { ...web, egress: [{ action: "Allow", destination: { nets: ["10.0.0.0/16"] } }] })],
      ...(["allowed", /^egress: allow by np\/shop\/out/] as const),
    ],
    [
      "... so that a rule for the cluster address allows nothing",
      "shop/web > 10.96.0.5",
      [np("shop/out", { ...web, egress: [{ action: "Allow", destination: { nets: ["10.96.0.5/32"] } }] })],
      ...(["denied", /^egress of shop\/web on n1/] as const),
    ],
    [
      "the backend's own ingress is asked, at its own port",
      "shop/web > shop/db",
      [db("1", [80]), db("2", [80])],
      ...(["denied", /^ingress of shop\/db1 on n1/] as const),
    ],
    [
      "where backends differ nobody can say",
      "shop/web > shop/db",
      [db("1", [5432]), db("2", [80])],
      ...([
        "unknown",
        /^it differs by backend: 10.0.1.3:5432 \(shop\/db1\) allowed, 10.0.2.3:5432 \(shop\/db2\) denied$/,
      ] as const),
    ],
    [
      "from outside, by an external address",
      "198.51.100.1 > 192.0.2.50",
      [db("1", [80]), db("2", [80])],
      ...(["denied", /^ingress of shop\/db1 on n1/] as const),
    ],
    [
      "nothing ready",
      "shop/web > 10.96.0.6",
      [service("shop/none", "10.96.0.6")],
      "unreachable",
      /^nothing ready stands/,
    ],
    [
      "ports not told yet",
      "shop/web > 10.96.0.6",
      [service("shop/old", "10.96.0.6", { ports: undefined })],
      ...(["unknown", /does not say yet which ports service shop\/old has$/] as const),
    ],
  ])("%s", (_why, ends, more, verdict, because) => {
    const found = told(ends, more);
    expect({ verdict: found.verdict, because: found.because }).toEqual({
      verdict,
      because: expect.stringMatching(because),
    });
  });

  test("a port that the Service does not have is served by nobody; a node port is, on every node", () => {
    expect(told("shop/web > 10.96.0.5", [], { destinationPort: 81 })).toMatchObject({
      ...{ verdict: "unreachable", because: "service shop/db has no port tcp:81" },
    });
    expect(told("shop/web > 10.96.0.5", [], { destinationPort: 30_080 })).toMatchObject({
      ...{ verdict: "unreachable", because: "service shop/db has no port tcp:30080" },
    });
    expect(told("198.51.100.1 > n2", [], { destinationPort: 30_080 }).backends?.length).toBe(2);
    expect(told("198.51.100.1 > n2", [], { destinationPort: 30_081 }).backends).toBeUndefined();
  });

  test("preDNAT sees what came in, all others what it became", () => {
    const early = (net: string) => [
      ...[hep("h1", {}, { role: "node" }), hep("h2", { node: "n2" }, { role: "node" })],
      gnp("early", {
        ...{ selector: "role == 'node'", types: ["Ingress"], preDNAT: true, applyOnForward: true },
        ingress: [{ action: "Deny", destination: { nets: [net] } }],
      }),
    ];
    expect(told("198.51.100.1 > 192.0.2.50", early("192.0.2.50/32")).verdict).toBe("denied");
    expect(told("198.51.100.1 > 192.0.2.50", early("10.0.0.0/16")).verdict).toBe("allowed");
  });
});

test("a pod reaches itself by way of a Service, whatever policy says", () => {
  const closed = np("shop/closed", { selector: "app == 'db'", types: ["Ingress", "Egress"] });
  const { backends } = told("shop/db1 > shop/db", [closed]);
  expect(backends).toMatchObject([
    { name: "shop/db1", verdict: "allowed", decidedBy: { rule: "workload/to-itself" } },
    { name: "shop/db2", verdict: "denied" },
  ]);
  expect(told("shop/db1 > shop/db1", [closed])).toMatchObject({ verdict: "allowed", steps: [] });
});

test("an announced service address that no Service has is not forwarded", () => {
  const announced = [bgpSettings({ serviceClusterIPs: [{ cidr: "10.96.0.0/16" }] })];
  expect(told("shop/web > 10.96.0.99", announced)).toMatchObject({
    verdict: "denied",
    decidedBy: { rule: "service-loop", node: "n1" },
  });
  const off = felix("default", { serviceLoopPrevention: "Disabled" });
  expect(told("shop/web > 10.96.0.99", [...announced, off]).verdict).toBe("allowed");
});

describe("floating addresses", () => {
  const ipNATs = [{ internalIP: "10.0.2.9", externalIP: "203.0.113.7" }];
  const FLOATING = [
    pod("shop/fip", ["10.0.2.9"], { labels: { app: "fip" }, node: "n2", spec: { ipNATs } }),
    pod("shop/near", ["10.0.2.10"], { labels: { app: "web" }, node: "n2" }),
    felix("default", { floatingIPs: "Enabled" }),
    np("shop/in", {
      selector: "app == 'fip'",
      ingress: [{ action: "Allow", destination: { nets: ["10.0.2.9/32"] } }],
    }),
  ];
  const toExternal = np("shop/out", {
    ...web,
    egress: [{ action: "Allow", destination: { nets: ["203.0.113.7/32"] } }],
  });

  test.each<[why: string, ends: string, more: readonly Update[], verdict: string]>([
    ["the pod's policy sees its own address", "198.51.100.1 > 203.0.113.7", FLOATING, "allowed"],
    [
      "on another node the sender's policy sees the floating one",
      "shop/web > 203.0.113.7",
      [...FLOATING, toExternal],
      "allowed",
    ],
    [
      "on the same node it sees the pod's own",
      "shop/near > 203.0.113.7",
      [...FLOATING, toExternal],
      "denied",
    ],
  ])("%s", (_why, ends, more, verdict) => {
    const found = told(ends, more);
    expect({ verdict: found.verdict, because: found.because }).toEqual({ verdict, because: found.because });
    const nat = found.steps.filter((step) => step.kind === "nat" && step.destination !== undefined);
    expect(nat).toMatchObject([{ node: "n2", destination: "10.0.2.9" }]);
  });

  test("what the pod sends out comes from it", () => {
    const { steps } = told("shop/fip > 198.51.100.1", FLOATING);
    expect(steps.find(({ kind }) => kind === "nat")).toMatchObject({ source: "203.0.113.7" });
  });

  test("switched off, it is nobody's", () => {
    const found = told("198.51.100.1 > 203.0.113.7", [...FLOATING, felix("default", {})]);
    expect(found.destination).toMatchObject({ kind: "outside" });
  });
});
