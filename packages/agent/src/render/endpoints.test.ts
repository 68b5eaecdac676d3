import { isDeepStrictEqual } from "node:util";
import { expect, test } from "@jest/globals";
import { type AnyResource, keyOf } from "@margay/api";
import { Calc, type NodeState } from "@margay/calc";
import { renderConfig } from "./config.ts";
import { type Rendered, render } from "./index.ts";
import { base, endpoint, resource, updateOf } from "./testing/pods.ts";

const gone = ({ kind, metadata }: AnyResource) => ({ key: keyOf(kind, metadata.name, metadata.namespace) });
const policy = (name: string, app: string, action = "Deny") =>
  resource("GlobalNetworkPolicy", name, { selector: `app == '${app}'`, ingress: [{ action }] });
const a = endpoint("a");
const onlyFour = (one: AnyResource): AnyResource =>
  one.kind === "WorkloadEndpoint"
    ? { ...one, spec: { ...one.spec, ipNetworks: one.spec.ipNetworks.slice(0, 1) } }
    : one;

/** Each follows the one before. */
const CHANGES = [
  ["a policy for one pod", [updateOf(policy("p", "a"))]],
  ["the same policy, another rule", [updateOf(policy("p", "a", "Allow"))]],
  ["the same policy for another pod", [updateOf(policy("p", "b", "Allow"))]],
  ["a second one for two", [updateOf(policy("q", "a")), updateOf(policy("r", "b"))]],
  ["a pod loses its second family", [updateOf(onlyFour(a))]],
  ["and has it again", [updateOf(a)]],
  ["a pod goes", [gone(endpoint("b"))]],
  ["and comes back", [updateOf(endpoint("b"))]],
  [
    "the profile of all says otherwise",
    [updateOf(resource("Profile", "kns.x", { ingress: [{ action: "Deny" }] }))],
  ],
  ["a policy that cannot be read", [{ key: keyOf("GlobalNetworkPolicy", "q"), corrupt: "no JSON" }]],
  ["policies go", [gone(policy("p", "a")), gone(policy("q", "a")), gone(policy("r", "b"))]],
] as const;

const said = ({ chains4, chains6, ipsets, hooks4, hooks6 }: Rendered) =>
  [chains4, chains6, ipsets, hooks4, hooks6].map((map: ReadonlyMap<string, unknown>) =>
    Object.fromEntries([...map].toSorted(([x], [y]) => (x < y ? -1 : 1))),
  );

/** Settings of its own: nothing is remembered of any other call. */
const anew = (state: NodeState) =>
  said(render({ ...state, endpoints: [...state.endpoints] }, { ...renderConfig(state.config) }));

test("after each change the chains are those that the state alone gives", () => {
  const calc = new Calc("n1");
  calc.apply(base().map(updateOf));
  render(calc.state());
  for (const [why, updates] of CHANGES) {
    calc.apply(updates);
    expect([why, said(render(calc.state()))]).toEqual([why, anew(calc.state())]);
  }
});

test("a change of one pod's policies leaves the chains of other pods as they are, and adds its own", () => {
  const calc = new Calc("n1");
  calc.apply(base().map(updateOf));
  const chains = () => new Map(Object.entries(said(render(calc.state()))[0] ?? {}));
  const before = chains();
  calc.apply([updateOf(policy("p", "a"))]);
  const changed = [...chains()].filter(([key, chain]) => !isDeepStrictEqual(before.get(key), chain));
  expect(changed.map(([key]) => key.replace(/-[0-9a-f]{16}$/, "")).sort()).toEqual([
    "filter/margay-in",
    "filter/margay-to-wl",
    "filter/margay-wi",
  ]);
});

test("a pod that came with a policy of which no rules can be made is there when that policy is gone", () => {
  const calc = new Calc("n1");
  calc.apply(base().map(updateOf));
  calc.apply([gone(a)]);
  render(calc.state());
  calc.apply([updateOf(a), updateOf(policy("p", "b"))]);
  const state = calc.state();
  const broken = new Map(
    [...state.policies].map(([key, one]) => [
      key,
      { ...one, ingress: one.ingress.map((rule) => ({ ...rule, source: undefined as never })) },
    ]),
  );
  expect(() => render({ ...state, policies: broken })).toThrow(TypeError);
  expect(said(render(state))).toEqual(anew(state));
});
