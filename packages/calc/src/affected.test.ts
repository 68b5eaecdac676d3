import { expect, test } from "@jest/globals";
import { affected, hostsAffected } from "./affected.ts";
import { Calc, type Update } from "./calc.ts";
import { gnetset, gnp, gone, hep, namespace, np, pod } from "./testing/resources.ts";

const WEB = pod("a/web", ["10.0.0.1"], { labels: { app: "web" } });
const DB = pod("a/db", ["10.0.0.2"], { labels: { app: "db" } });
const BY_LABEL = np("a/p", {
  selector: "app == 'db'",
  ingress: [{ action: "Allow", source: { selector: "role == 'client'" } }],
});
const BUT = (source: object) =>
  np("a/p", { selector: "app == 'db'", ingress: [{ action: "Allow", protocol: "TCP", source }] });
const HTTP = pod("a/client", ["10.0.0.3"], {
  node: "n2",
  spec: { ports: [{ name: "http", protocol: "TCP", port: 8080 }] },
});
const client = (labels: Record<string, string>) => pod("a/client", ["10.0.0.3"], { labels, node: "n2" });

test.each<[why: string, before: readonly Update[], change: Update, expected: readonly string[]]>([
  ["a policy comes: those that it selects", [], BY_LABEL, ["a/db"]],
  ["a policy goes", [BY_LABEL], gone(BY_LABEL), ["a/db"]],
  ["a policy says something else", [BY_LABEL], np("a/p", { selector: "app == 'db'", ingress: [] }), ["a/db"]],
  ["a peer gets a label that a rule asks for", [BY_LABEL, client({})], client({ role: "client" }), ["a/db"]],
  [
    "a peer gets a label that a rule excludes",
    [BUT({ notSelector: "role == 'client'" }), client({})],
    client({ role: "client" }),
    ["a/db"],
  ],
  [
    "a peer gets a port that a rule excludes by name",
    [BUT({ notPorts: ["http"] }), client({})],
    HTTP,
    ["a/db"],
  ],
  ["a peer gets another label", [BY_LABEL, client({})], client({ colour: "red" }), []],
  ["a namespace: its profile is written anew", [], namespace("a", { team: "x" }), ["a/db", "a/web"]],
  ["the profile of all goes", [], gone(namespace("a")), ["a/db", "a/web"]],
  ["an endpoint comes", [], pod("a/new", ["10.0.0.9"]), ["a/new"]],
])("%s", (_why, before, change, expected) => {
  const calc = new Calc("n1");
  calc.apply([namespace("a"), WEB, DB, ...before]);
  const first = calc.state();
  calc.apply([change]);
  expect(affected(first, calc.state()).map(({ id }) => id)).toEqual(expected);
  expect(affected(undefined, first).map(({ id }) => id)).toEqual(["a/db", "a/web"]);
});

const BY_SET = gnp("q", {
  ...{ selector: "role == 'node'", doNotTrack: true, applyOnForward: true },
  ingress: [{ action: "Deny", source: { selector: "bad == 'yes'" } }],
});

const FORWARD = { selector: "role == 'node'", applyOnForward: true, types: ["Ingress"], ingress: [] };

test.each<[why: string, before: readonly Update[], change: Update, isAffected: boolean]>([
  ["a host endpoint comes", [], hep("i", { interfaceName: "eth1" }), true],
  ["a policy on it comes", [], BY_SET, true],
  ["a set that its policy asks for changes", [BY_SET], gnetset("s", { bad: "yes" }, ["192.0.2.1"]), true],
  [
    "a policy on what it forwards says something else",
    [gnp("f", FORWARD)],
    gnp("f", { ...FORWARD, ingress: [{ action: "Deny" }] }),
    true,
  ],
  ["a set that nobody asks for", [BY_SET], gnetset("s", { bad: "no" }, ["192.0.2.1"]), false],
  ["a policy on pods", [BY_SET], BY_LABEL, false],
])("host endpoints: %s", (_why, before, change, isAffected) => {
  const calc = new Calc("n1");
  calc.apply([namespace("a"), WEB, DB, hep("h", {}, { role: "node" }), ...before]);
  const first = calc.state();
  calc.apply([change]);
  expect(hostsAffected(first, calc.state())).toBe(isAffected);
  expect(hostsAffected(undefined, first)).toBe(true);
});
