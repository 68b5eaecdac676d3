import { expect, test } from "@jest/globals";
import type { NodeState } from "@margay/calc";
import { IptablesError } from "@margay/iptables";
import { parseAddress, parsePrefix } from "@margay/net";
import { NetlinkError } from "@margay/netlink";
import { Refused, refusedChain } from "./refused.ts";
import { chains } from "./render/names.ts";
import { resource, stateWith } from "./render/testing/pods.ts";

const RULE = "add rule np/x/p/in/0 to chain filter-in-p (IPv4)";
const said = (code: "rejected" | "exhausted", text = "-A margay-in-p -j LOG") =>
  new IptablesError(code, { tool: "iptables-restore", reason: "", text });

/** As a line that iptables gets begins. */
const comment = (text: string) => `-m comment --comment "margay:fq8_RrR0ZkmJsDkh ${text}"`;

test.each<[why: string, error: Error, chain: string | undefined]>([
  ["the rule is wrong", new NetlinkError("EINVAL", RULE), "margay-in-p"],
  ["an old kernel has no such expression", new NetlinkError("EOPNOTSUPP", RULE), "margay-in-p"],
  ["its module is not there", new NetlinkError("ENOENT", RULE), "margay-in-p"],
  ["no memory: any rule would have met it", new NetlinkError("ENOMEM", RULE), undefined],
  ["no room in the socket", new NetlinkError("ENOBUFS", RULE), undefined],
  ["a signal came", new NetlinkError("EINTR", RULE), undefined],
  ["no rule at all", new NetlinkError("EINVAL", "add chain filter-in-p (IPv4)"), undefined],
  ["iptables refused the line", said("rejected"), "margay-in-p"],
  [
    "iptables refused a workload's rule where it is dispatched",
    said("rejected", `-A margay-fd-cali1 ${comment('a \\"b\\"')} -i cali12 ! -s 10.0.0.1/32 -j DROP`),
    "margay-fw-cali12",
  ],
  [
    "iptables refused a jump where workloads are dispatched",
    said(
      "rejected",
      "-I margay-to-wl 3 -m comment --comment margay:fq8_RrR0ZkmJsDkh -o cali1+ -g margay-td-cali1",
    ),
    "margay-tw-cali1+", // nobody's
  ],
  ["iptables had no memory", said("exhausted"), undefined],
])("whose chain: %s", (_why, error, chain) => {
  expect(refusedChain(error)).toBe(chain);
});

const POLICIES = ["p", "q", "r"];
const state = stateWith(
  POLICIES.map((name) => resource("NetworkPolicy", name, { selector: "app == 'a'", ingress: [] })),
);

/** Fails for these, while they are not closed: a policy only where an endpoint is under it that is not closed either. */
const failingFor =
  (...subjects: readonly string[]) =>
  ({ endpoints, policies, profiles }: NodeState): void => {
    const open = endpoints.filter(({ ok }) => ok);
    const used = open.flatMap(({ ingress, profiles: its }) => [
      ...ingress.flatMap((tier) => tier.policies.flatMap((id) => policies.get(id) ?? [])),
      ...its.flatMap((name) => profiles.get(name) ?? []),
    ]);
    const made = [...open, ...used.filter(({ problem }) => problem === undefined)].map(({ id }) => id);
    const at = subjects.find((subject) => made.includes(subject));
    if (at !== undefined) throw new RangeError(`no rules for ${at}`);
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
  const render = failingFor(...subjects);
  for (let tries = 0; tries < subjects.length && refused.blameRendered(state, render); tries++);
  expect(refused.blameRendered(state, render)).toBe(false);
  const { problems } = refused.enforced(state);
  expect(problems.map(({ subject }) => subject).sort()).toEqual([...subjects].sort());
  for (const { subject, why } of problems)
    expect(why).toBe(`its rules cannot be made: RangeError: no rules for ${subject}`);
});

test("where rules cannot be made whoever is closed, nobody is", () => {
  const refused = new Refused();
  const isBlamed = refused.blameRendered(state, () => {
    throw new RangeError("a setting is wrong");
  });
  expect([isBlamed, refused.enforced(state)]).toEqual([false, state]);
});

test("a kernel without NFQUEUE has everything else: no domain's address is learnt, and that is said", () => {
  const domains = [{ action: "Allow", destination: { domains: ["a.example"] } }];
  const spec = { selector: "app == 'a'", types: ["Egress"], egress: domains };
  const named = stateWith([resource("GlobalNetworkPolicy", "p", spec)]);
  const refused = new Refused();
  expect(named.resolvers).toBeDefined();
  expect(refused.blame("margay-dns-answers", "no such target", named)).toBe(true);
  expect(refused.blame("margay-dns-answers", "no such target", named)).toBe(false);
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
  const name = asking.endpoints[0]?.interfaceName ?? "";
  expect(refused.blame(chains.reversePath(name), "why", asking)).toBe(true);
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
  expect(refused.blame(chains.host("fo", "eth0"), "why", own)).toBe(true);
  expect(refused.blame(chains.host("ui", "eth0"), "why", own)).toBe(false);
  const nobody = { ingress: [], egress: [] };
  const { hostEndpoints, problems } = refused.enforced(own);
  expect(hostEndpoints).toEqual([
    { ...open, ok: false, normal: nobody, forward: nobody, untracked: nobody, preDnat: nobody },
    own.hostEndpoints[1],
  ]);
  expect(problems).toEqual([{ subject: "hep:g", why: "the packet filter refused a rule: why" }]);
});

test("where the kernel translates no floating address, there are none, and all else is enforced", () => {
  const refused = new Refused();
  const [external, internal] = [parseAddress("192.0.2.1"), parseAddress("10.244.0.1")];
  const floating = {
    ...state,
    endpoints: state.endpoints.map((pod) => ({ ...pod, floating: [{ external, internal }] })),
  };
  expect(refused.blame(chains.floatingTo("192.0.2.0/24"), "why", floating)).toBe(true);
  expect(refused.blame(chains.floating, "why", floating)).toBe(false);
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
