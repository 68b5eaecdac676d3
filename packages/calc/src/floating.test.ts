import { expect, test } from "@jest/globals";
import { type AnyResource, keyOf, parse } from "@margay/api";
import { formatAddress } from "@margay/net";
import { Calc } from "./calc.ts";

const enabled = (floatingIPs: "Enabled" | "Disabled") => ({
  key: keyOf("FelixConfiguration", "default"),
  value: parse({
    ...{ apiVersion: "margay.dev/v1", kind: "FelixConfiguration", metadata: { name: "default" } },
    spec: { floatingIPs },
  }).resource,
});

/** A pod of `node` that asks for 192.0.2.9, made at this minute. */
function pod(name: string, { node = "n1", minute = 0, asks = ["192.0.2.9"] } = {}) {
  const last = name.charCodeAt(0);
  const value: AnyResource = parse({
    ...{ apiVersion: "margay.dev/v1", kind: "WorkloadEndpoint" },
    metadata: { name, namespace: "x", creationTimestamp: `2026-01-01T00:0${minute}:00Z` },
    spec: {
      ...{ node, orchestrator: "k8s", pod: name, endpoint: "eth0", interfaceName: `cali${name}` },
      ipNetworks: [`10.0.0.${last}/32`],
      ipNATs: asks.map((externalIP) => ({ internalIP: `10.0.0.${last}`, externalIP })),
    },
  }).resource;
  return { key: keyOf("WorkloadEndpoint", name, "x"), value };
}

const gone = (name: string) => ({ key: keyOf("WorkloadEndpoint", name, "x") });

/** What each endpoint of n1 has, and who has the rest: "a has 192.0.2.9", "b lacks 192.0.2.9 of x/a". */
const outcome = (calc: Calc): string[] =>
  calc
    .state()
    .endpoints.flatMap(({ id, floating = [], floatingTaken = [] }) => [
      ...floating.map(({ external }) => `${id} has ${formatAddress(external)}`),
      ...floatingTaken.map(({ external, by }) => `${id} lacks ${formatAddress(external)} of ${by}`),
    ]);

test.each<[why: string, updates: { key: string; value?: AnyResource }[], expected: string[]]>([
  ["nobody has one while they are switched off", [enabled("Disabled"), pod("a")], []],
  ["one who asks", [enabled("Enabled"), pod("a")], ["x/a has 192.0.2.9"]],
  [
    "two who ask: whoever was made first",
    [enabled("Enabled"), pod("a", { minute: 2 }), pod("b", { minute: 1 })],
    ["x/a lacks 192.0.2.9 of x/b", "x/b has 192.0.2.9"],
  ],
  [
    "made at one moment: by name",
    [enabled("Enabled"), pod("b"), pod("a")],
    ["x/a has 192.0.2.9", "x/b lacks 192.0.2.9 of x/a"],
  ],
  [
    "the first is on another node",
    [enabled("Enabled"), pod("b", { minute: 2 }), pod("a", { node: "n2", minute: 1 })],
    ["x/b lacks 192.0.2.9 of x/a"],
  ],
  [
    "the first goes: the next has it",
    [enabled("Enabled"), pod("b", { minute: 2 }), pod("a", { node: "n2", minute: 1 }), gone("a")],
    ["x/b has 192.0.2.9"],
  ],
  [
    "the first asks for another: both have one",
    [enabled("Enabled"), pod("b", { minute: 2 }), pod("a"), pod("a", { asks: ["192.0.2.8"] })],
    ["x/a has 192.0.2.8", "x/b has 192.0.2.9"],
  ],
])("%s", (_why, updates, expected) => {
  const [atOnce, oneByOne] = [new Calc("n1"), new Calc("n1")];
  atOnce.apply(updates);
  for (const update of updates) {
    oneByOne.apply([update]);
    oneByOne.state(); // what was resolved before must not stay
  }
  expect(outcome(atOnce)).toEqual(expected);
  expect(outcome(oneByOne)).toEqual(expected);
});

test("the range that Kubernetes gave a node is its block while a pod has an address from it", () => {
  const calc = new Calc("n1");
  const node = {
    ...parse({ apiVersion: "margay.dev/v1", kind: "Node", metadata: { name: "n1" }, spec: {} }).resource,
    status: { podCIDRs: ["10.0.0.0/24", "nonsense"] },
  } as AnyResource; // a status has no schema
  calc.apply([{ key: keyOf("Node", "n1"), value: node }]);
  const blocks = () => calc.state().blocks.map(({ length }) => length);
  expect(blocks()).toEqual([]);
  calc.apply([pod("a", { asks: [] })]);
  expect(blocks()).toEqual([24]);
  expect(calc.state()).toBe(calc.state());
  calc.apply([gone("a")]);
  expect(blocks()).toEqual([]);
});
