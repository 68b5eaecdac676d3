import { expect, test } from "@jest/globals";
import type { NodeState } from "@margay/calc";
import { parseAddress, parsePrefix } from "@margay/net";
import { Refused } from "./refused.ts";
import { resource, stateWith } from "./render/testing/pods.ts";

const POLICIES = ["p", "q", "r"];
const state = stateWith(
  POLICIES.map((name) => resource("NetworkPolicy", name, { selector: "app == 'a'", ingress: [] })),
);

/** Names the first of these that is not closed: a policy only where an endpoint is under it that is not closed either. */
const failingFor =
  (...subjects: readonly string[]) =>
  ({ endpoints, policies, profiles }: NodeState): string | undefined => {
    const open = endpoints.filter(({ ok }) => ok);
    const used = open.flatMap(({ ingress, profiles: its }) => [
      ...ingress.flatMap((tier) => tier.policies.flatMap((id) => policies.get(id) ?? [])),
      ...its.flatMap((name) => profiles.get(name) ?? []),
    ]);
    const made = [...open, ...used.filter(({ problem }) => problem === undefined)].map(({ id }) => id);
    const at = subjects.find((subject) => made.includes(subject));
    return at && `no rules for ${at}`;
  };

test.each<[why: string, subjects: readonly string[]]>([
  ["nobody", []],
  ["a policy", ["np/x/q"]],
  ["the first and the last policy", ["np/x/p", "np/x/r"]],
  ["an endpoint", ["x/c"]],
  ["an endpoint and its profile, which others have", ["x/a", "profile/kns.x"]],
  ["a profile", ["profile/kns.x"]],
])("of whom no rules can be made: %s", (_why, subjects) => {
  const refused = new Refused();
  const whyNot = failingFor(...subjects);
  for (let tries = 0; tries < subjects.length && refused.blame(state, { whyNot }); tries++);
  expect(refused.blame(state, { whyNot })).toBe(false);
  const { problems } = refused.enforced(state);
  expect(problems.map(({ subject }) => subject).sort()).toEqual([...subjects].sort());
  for (const { subject, why } of problems) expect(why).toBe(`no rules for ${subject}`);
});

test("where rules cannot be made whoever is closed, nobody is", () => {
  const refused = new Refused();
  const isBlamed = refused.blame(state, { whyNot: () => "nobody knows why" });
  expect([isBlamed, refused.enforced(state)]).toEqual([false, state]);
});

test("a kernel without NFQUEUE has everything else: no domain's address is learnt, and that is said", () => {
  const domains = [{ action: "Allow", destination: { domains: ["a.example"] } }];
  const spec = { selector: "app == 'a'", types: ["Egress"], egress: domains };
  const named = stateWith([resource("GlobalNetworkPolicy", "p", spec)]);
  const refused = new Refused();
  expect(named.resolvers).toBeDefined();
  const whyNot = ({ resolvers }: NodeState) => resolvers && "no such target";
  expect(refused.blame(named, { whyNot })).toBe(true);
  expect(refused.blame(refused.enforced(named), { whyNot })).toBe(false);
  expect(refused.enforced(named)).toMatchObject({
    resolvers: undefined,
    problems: [{ subject: "domains", why: "DNS answers are not seen: no such target" }],
  });
  refused.forget();
  expect(refused.enforced(named)).toBe(named);
});

test("a refused rule of what a pod may send from besides closes that pod, which then asks for none", () => {
  const refused = new Refused();
  const spoofable = [parsePrefix("192.0.2.0/24")];
  const asking = { ...state, endpoints: state.endpoints.map((pod) => ({ ...pod, spoofable })) };
  const whyNot = ({ endpoints: [first] }: NodeState) => (first?.spoofable.length === 0 ? undefined : "why");
  expect(refused.blame(asking, { whyNot })).toBe(true);
  const { endpoints } = refused.enforced(asking);
  expect(endpoints.map(({ ok }) => ok)).toEqual([false, ...endpoints.slice(1).map(() => true)]);
  expect(endpoints.map((pod) => pod.spoofable)).toEqual([[], ...endpoints.slice(1).map(() => spoofable)]);
});

test("a refused rule of a host endpoint closes that one, which then has no policy in any place", () => {
  const refused = new Refused();
  const hep = (name: string, interfaceName: string) =>
    resource("HostEndpoint", name, { node: "n1", interfaceName });
  const untracked = {
    selector: "all()",
    doNotTrack: true,
    applyOnForward: true,
    ingress: [{ action: "Allow" }],
  };
  const own = stateWith([
    hep("g", "eth0"),
    hep("h", "eth1"),
    resource("GlobalNetworkPolicy", "p", untracked),
  ]);
  const [open] = own.hostEndpoints;
  expect(open?.untracked.ingress).toHaveLength(1);
  const whyNot = ({ hostEndpoints: [first] }: NodeState) => (first?.ok ? "why" : undefined);
  expect(refused.blame(own, { whyNot })).toBe(true);
  expect(refused.blame(own, { whyNot })).toBe(false);
  const nobody = { ingress: [], egress: [] };
  const { hostEndpoints, problems } = refused.enforced(own);
  expect(hostEndpoints).toEqual([
    { ...open, ok: false, normal: nobody, forward: nobody, untracked: nobody, preDnat: nobody },
    own.hostEndpoints[1],
  ]);
  expect(problems).toEqual([{ subject: "hep:g", why: "why" }]);
});

test("where the kernel translates no floating address, there are none, and all else is enforced", () => {
  const refused = new Refused();
  const [external, internal] = [parseAddress("192.0.2.1"), parseAddress("10.244.0.1")];
  const floating = {
    ...state,
    endpoints: state.endpoints.map((pod) => ({ ...pod, floating: [{ external, internal }] })),
  };
  const whyNot = ({ endpoints }: NodeState) => (endpoints.some((one) => one.floating) ? "why" : undefined);
  expect(refused.blame(floating, { whyNot })).toBe(true);
  expect(refused.blame(floating, { whyNot })).toBe(false);
  const { endpoints, problems } = refused.enforced(floating);
  expect(endpoints).toEqual(state.endpoints);
  expect(problems).toEqual([
    { subject: "floating addresses", why: "nothing is translated to or from them: why" },
  ]);
  expect(refused.enforced({ ...floating, policies: new Map() }).endpoints).toBe(endpoints);
  expect(refused.enforced({ ...floating, config: { ...floating.config } }).endpoints).toBe(
    floating.endpoints,
  );
});

test("what all share that the same policies decide closes them together, and nobody else", () => {
  const refused = new Refused();
  const [a, b, c] = state.endpoints.map((pod) => ({ ...pod, ingress: [], egress: [], profiles: ["kns.x"] }));
  if (!a || !b || !c) throw new Error("there are three pods");
  const other = { ...c, profiles: [] };
  const sharing = { ...state, endpoints: [a, b, other] };
  const whyNot = ({ endpoints }: NodeState) =>
    endpoints.some(({ ok, profiles }) => ok && profiles.length > 0) ? "why" : undefined;
  expect(refused.blame(sharing, { whyNot })).toBe(true);
  expect(refused.enforced(sharing).endpoints.map(({ ok }) => ok)).toEqual([false, false, true]);
});

test.each([
  ["the last good value is kept", "5/second", "5/second"],
  ["without one, or with one that is refused by now, the default", undefined, "10/second"],
  ["without one, or with one that is refused by now, the default", "99/second", "10/second"],
])("a setting that is refused is named, and %s", (_why, former, expected) => {
  const refused = new Refused();
  const asked = { ...state, config: { ...state.config, logActionRateLimit: "99/second" } };
  const whyNot = ({ config }: NodeState) => (config.logActionRateLimit === "99/second" ? "why" : undefined);
  const good = former === undefined ? undefined : { ...state.config, logActionRateLimit: former };
  expect(refused.blame(asked, { whyNot, good })).toBe(true);
  const { config, problems, endpoints } = refused.enforced(asked);
  expect(config.logActionRateLimit).toBe(expected);
  expect(endpoints).toEqual(state.endpoints);
  const subject = "FelixConfiguration.logActionRateLimit";
  expect(problems).toEqual([{ subject, why: `${expected} is in force instead: why` }]);
});
