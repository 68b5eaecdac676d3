import { expect, test } from "@jest/globals";
import { Calc, type Update } from "./calc.ts";
import { gnp, gone, hep, namespace, np, pod } from "./testing/resources.ts";

const ports = [{ name: "http", protocol: "TCP", port: 8080 }];
const named = { protocol: "TCP", destination: { ports: ["http"] } };
const onN1 = (name: string, ip: string, more: object = {}) =>
  pod(name, [ip], { labels: { app: "web" }, spec: { ports }, ...more });

/** Two pods on n1, a hundred elsewhere, all with a port of that name; every tenth of these is a database. */
const cluster = [
  namespace("a"),
  onN1("a/web1", "10.0.0.1"),
  onN1("a/web2", "10.0.0.2"),
  ...Array.from({ length: 100 }, (_, i) =>
    onN1(`a/far${i}`, `10.0.1.${i}`, { node: "n2", labels: { app: i % 10 === 0 ? "db" : "other" } }),
  ),
];

function portSet(...updates: Update[]) {
  const calc = new Calc("n1");
  calc.apply([...cluster, ...updates]);
  const sets = () => [...calc.state().sets.values()].filter(({ kind }) => kind === "ip-port");
  return { calc, members: () => sets().map(({ members }) => members[4].size) };
}

const forWeb = { selector: "app == 'web'" };
test.each<[why: string, policy: Update, members: number]>([
  [
    "in ingress the destination is an endpoint of this node: only these are in the set",
    np("a/p", { ...forWeb, ingress: [{ action: "Allow", ...named }] }),
    2,
  ],
  [
    "in egress it is bound by the rule's selector",
    np("a/p", {
      ...{ ...forWeb, types: ["Egress"] },
      egress: [{ action: "Allow", ...named, destination: { ...named.destination, selector: "app == 'db'" } }],
    }),
    10,
  ],
  [
    "... or by nothing, if the rule has none",
    np("a/p", { ...forWeb, types: ["Egress"], egress: [{ action: "Allow", ...named }] }),
    102,
  ],
  [
    "what a node forwards may be for anybody",
    gnp("p", { ...forWeb, applyOnForward: true, ingress: [{ action: "Allow", ...named }] }),
    102,
  ],
])("%s", (_why, policy, members) => {
  expect(portSet(policy).members()).toEqual([members]);
});

test("policies that use a name share its set; pods elsewhere, and labels that none of them asks for, change nothing in it", () => {
  const policies = Array.from({ length: 20 }, (_, i) =>
    np(`a/p${i}`, { selector: `app == 'web' && p${i} != 'x'`, ingress: [{ action: "Allow", ...named }] }),
  );
  const { calc, members } = portSet(...policies);
  expect(members()).toEqual([2]);
  const [set] = calc.state().sets.values();
  calc.apply([onN1("a/more", "10.0.2.1", { node: "n2" })]);
  calc.apply([onN1("a/web1", "10.0.0.1", { labels: { app: "web", version: "2" } })]);
  expect([...calc.state().sets.values()]).toEqual([set]);
  expect([...calc.state().sets.values()][0]).toBe(set);
});

test("a pod that comes, moves away or goes, and a host endpoint with ports of its own", () => {
  const policy = gnp("p", { selector: "all()", ingress: [{ action: "Allow", ...named }] });
  const { calc, members } = portSet(policy);
  const third = onN1("a/web3", "10.0.0.3");
  calc.apply([third]);
  expect(members()).toEqual([3]);
  calc.apply([onN1("a/web3", "10.0.0.3", { node: "n2" })]);
  expect(members()).toEqual([2]);
  calc.apply([third, gone(third)]);
  expect(members()).toEqual([2]);
  calc.apply([
    hep("h", { expectedIPs: ["172.20.0.11"], ports: [{ name: "http", protocol: "TCP", port: 80 }] }),
  ]);
  expect(members()).toEqual([3]);
});
