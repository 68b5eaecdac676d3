import { expect, test } from "@jest/globals";
import { type AnyResource, keyOf, parse } from "@margay/api";
import { Calc } from "@margay/calc";
import type { Chain } from "@margay/iptables";
import { render } from "./index.ts";
import { chains } from "./names.ts";

const resource = (kind: string, name: string, spec: object): AnyResource =>
  parse({ apiVersion: "margay.dev/v1", kind, metadata: { name, namespace: "a" }, spec }).resource;
const pod = (name: string, address: string) =>
  resource("WorkloadEndpoint", name, {
    ...{ orchestrator: "k8s", node: "n1", pod: name, endpoint: "eth0", interfaceName: `cali${name}` },
    ...{ ipNetworks: [`${address}/32`], profiles: [] },
  });
const policy = (name: string) =>
  resource("NetworkPolicy", name, { ingress: [{ action: "Allow", protocol: "TCP" }] });

/** The chains towards pods `a` and `b`, with these policies on both. */
function chainsWith(policies: readonly string[]): ReadonlyMap<string, Chain> {
  const all = [pod("a", "10.0.0.1"), pod("b", "10.0.0.2"), ...policies.map(policy)];
  const calc = new Calc("n1");
  calc.apply(
    all.map((value) => ({ key: keyOf(value.kind, value.metadata.name, value.metadata.namespace), value })),
  );
  return render(calc.state()).chains4;
}

const many = (count: number): string[] => Array.from({ length: count }, (_, i) => `p${1000 + i}`);

const groups = (chains: ReadonlyMap<string, Chain>): number[] => lengths(chains, /-gi-/);
const lengths = (chains: ReadonlyMap<string, Chain>, which: RegExp): number[] =>
  [...chains].flatMap(([key, { rules }]) => (which.test(key) ? [rules.length] : []));

function rulesWith(policies: number) {
  const chains = chainsWith(many(policies));
  const own = ["calia", "calib"].map((name) => rulesOf(chains, name));
  return { own, shared: lengths(chains, /-wi-/), groups: groups(chains) };
}

/** How many lead to a pod. */
const rulesOf = (chains: ReadonlyMap<string, Chain>, interfaceName: string): number | undefined =>
  chains
    .get("filter/margay-to-wl")
    ?.rules.filter(({ match: [word, name] }) => word === "-o" && name === interfaceName).length;

/** The policies of a pod in the order in which they are asked. */
function asked(chains: ReadonlyMap<string, Chain>, from: string): string[] {
  const called = chains
    .get(`filter/${from}`)
    ?.rules.flatMap(({ target: [word, to = ""] }) =>
      word !== undefined && /^margay-(wi|gi|in)-/.test(to) ? [to] : [],
    );
  return (called ?? []).flatMap((name) => (name.startsWith("margay-in-") ? [name] : asked(chains, name)));
}

test("a pod is two rules however many its policies, and its replica shares all others", () => {
  expect(rulesWith(2)).toEqual({ own: [2, 2], shared: [5], groups: [4] });
  expect(rulesWith(32)).toEqual({ own: [2, 2], shared: [5], groups: [64] });
  const { own, shared, groups: its } = rulesWith(1000);
  expect([own, shared]).toEqual([[2, 2], [5]]);
  expect(Math.max(...its)).toBeLessThanOrEqual(64);
});

test("groups of groups ask each policy once, in order", () => {
  const names = many(1000);
  const inOrder = names.map((name) => chains.ingress(`np/a/${name}`));
  const all = chainsWith(names);
  const [decision = ""] = [...all.keys()].filter((key) => key.includes("-wi-"));
  expect(asked(all, decision.replace("filter/", ""))).toEqual(inOrder);
});

test.each([
  ["in front", "p0"],
  ["in the middle", "p1500x"],
  ["at the end", "p9"],
])("one policy more %s of a thousand is a few short chains", (_where, name) => {
  const before = chainsWith(many(1000));
  const after = chainsWith([...many(1000), name]);
  const fresh = [...after].filter(([key]) => !before.has(key)).map(([, { rules }]) => rules.length);
  expect(fresh.length).toBeLessThanOrEqual(6); // its own, and on each level one, or two where one is cut
  expect(fresh.reduce((sum, count) => sum + count, 0)).toBeLessThanOrEqual(260);
});

test("one policy is no group", () => {
  expect(rulesWith(1)).toEqual({ own: [2, 2], shared: [5], groups: [] });
});
