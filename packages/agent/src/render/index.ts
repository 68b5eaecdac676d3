import type { NodeState } from "@margay/calc";
import type { Chain, Hook, IpSet, Rule } from "@margay/iptables";
import type { Family } from "@margay/net";
import { oncePer, Parts } from "@margay/reconcile";
import { type Cohorts, cohortChains, NOBODY } from "./cohort.ts";
import { type RenderConfig, renderConfig } from "./config.ts";
import { connectionLimits } from "./connection-limit.ts";
import { beginning, isShared } from "./decision.ts";
import {
  dispatchChains,
  fromWorkload,
  fromWorkloadOrCohort,
  toWorkload,
  toWorkloadOrCohort,
} from "./dispatch.ts";
import { dnsAnswerChains } from "./dns-answers.ts";
import { dscpChains } from "./dscp.ts";
import { workloadsOf } from "./endpoints.ts";
import { floatingRules } from "./floating.ts";
import * as host from "./host.ts";
import { type HostChains, hostChains } from "./host-endpoint.ts";
import { setMark } from "./marks.ts";
import * as names from "./names.ts";
import { packetRates } from "./packet-rate.ts";
import type { PolicyChain } from "./policy.ts";
import { reversePath } from "./reverse-path.ts";
import { SetRefs } from "./sets.ts";

export { type RenderConfig, renderConfig } from "./config.ts";

/** What the kernel of a node must hold; keys are those of @margay/iptables' targets. */
export interface Rendered {
  readonly chains4: ReadonlyMap<string, Chain>;
  readonly chains6: ReadonlyMap<string, Chain>;
  readonly hooks4: ReadonlyMap<string, Hook>;
  readonly hooks6: ReadonlyMap<string, Hook>;
  /** Of both families, by name. */
  readonly ipsets: ReadonlyMap<string, IpSet>;
}

/**
 * The chains and sets that enforce a node's state. This is the one place that knows both policies and chains
 * (architecture.md, invariant 2). Pure; values that did not change since the last call are the same objects, and the chains of
 * endpoints and policies are parts by a few of them, so that a change costs next to the same however many there are.
 */
export function render(
  state: NodeState,
  config: RenderConfig = renderConfig(state.config),
  cohorts: Cohorts = NOBODY,
): Rendered {
  const { refs, ...chains } = renderChains(state, config, cohorts);
  return { ...chains, ipsets: refs.resolve(state.sets) };
}

type RenderedChains = Omit<Rendered, "ipsets"> & { readonly refs: SetRefs };

const kept = new WeakMap<NodeState["endpoints"], { from: readonly unknown[]; chains: RenderedChains }>();

/** Most changes are members of sets, which chains do not show: then the last ones are still right. */
function renderChains(state: NodeState, config: RenderConfig, cohorts: Cohorts): RenderedChains {
  const { policies, profiles, pools, hosts, services, hostEndpoints, resolvers } = state;
  const from = [config, policies, profiles, pools, hosts, services, hostEndpoints, resolvers, cohorts];
  const before = kept.get(state.endpoints);
  if (before && from.every((part, i) => part === before.from[i])) return before.chains;
  const refs = new SetRefs();
  const all = { ...state, cohorts };
  const chains4 = familyChains(all, config, { family: 4, sets: refs });
  const chains6 = config.felix.ipv6Support
    ? familyChains(all, config, { family: 6, sets: refs })
    : closedChains(state, config, refs);
  const hooks = { hooks4: host.hooks(config, hooked(chains4)), hooks6: host.hooks(config, hooked(chains6)) };
  const chains = { chains4, chains6, ...hooks, refs };
  kept.set(state.endpoints, { from, chains });
  return chains;
}

type Chains = ReadonlyMap<string, Chain>;

/** Without workloads' and policies' own: nothing hooks into those. */
const hooked = (chains: Chains): Chains =>
  chains instanceof Parts
    ? new Parts(new Map(["fixed", "shared"].map((id) => [id, chains.parts.get(id) ?? new Map()])))
    : chains;

function familyChains(
  state: NodeState & { readonly cohorts: Cohorts },
  config: RenderConfig,
  { family, sets }: { family: Family; sets: SetRefs },
): Chains {
  const hosts = hostChains(state, { family, config });
  const loops = host.serviceLoopRules(state, config, { family, sets });
  const vxlan = host.vxlanRules(state, config, { family, sets });
  const rates = packetRates(state.endpoints, { config, family });
  const connections = connectionLimits(state.endpoints, { config, family });
  const parts = new Map<string, ReadonlyMap<string, Chain>>([
    [
      "fixed",
      fixedChains(config, family, {
        ...{ loops, vxlan },
        hosts: {
          ...hosts.jumps,
          forwardIn: [...rates.jumps, ...hosts.jumps.forwardIn],
          forwardOut: [...connections.jumps, ...hosts.jumps.forwardOut],
        },
      }),
    ],
    ["limits", new Map([...rates.chains, ...connections.chains])],
  ]);
  putHosts(parts, hosts, sets);
  const { chains: its, policies, entries, ...grouped } = workloadsOf(state, config, family);
  for (const [id, some] of its.parts) parts.set(`workloads-${id}`, allOf(some));
  for (const [id, some] of policies.parts) {
    const { chains, refs } = chainsIn(some);
    parts.set(`policies-${id}`, chains);
    sets.join(`${family}/${id}`, refs);
  }
  const isGrouped = grouped.decisions.size > 0;
  const sources = reversePath(state, { family, config, sets });
  const shared = hookedByHosts(hosts, sources.jumps);
  for (const [key, chain] of sources.chains) shared.set(key, chain);
  for (const [dispatch, some] of [
    [isGrouped ? fromWorkloadOrCohort : fromWorkload, entries.from],
    [isGrouped ? toWorkloadOrCohort : toWorkload, entries.to],
  ] as const)
    for (const [id, part] of dispatchChains(some, dispatch, { config, family }).parts)
      parts.set(`${dispatch.root}/${id}`, part);
  if (isGrouped)
    // Behind entries: where a transaction is too long for the kernel, who leaves a cohort has rules of its own first.
    parts.set("cohorts", cohortChains(grouped.decisions, grouped.sources, { config, family, sets }));
  for (const [key, chain] of dscpChains(state, { family, config, sets })) shared.set(key, chain);
  for (const [key, chain] of dnsAnswerChains(state, { family, config, sets })) shared.set(key, chain);
  const floating = floatingRules(state, { family, sets });
  for (const [key, chain] of floating.chains) shared.set(key, chain);
  const nat = [...floating.source, ...host.natOutgoingRules(state, config, { family, sets })];
  if (nat.length > 0) shared.set(`nat/${names.chains.natOutgoing}`, { rules: nat });
  return new Parts(parts.set("shared", shared)); // a host's policy has our prefix
}

const allOf = oncePer(
  (workloads: ReadonlyMap<string, Chains>): Chains =>
    new Map([...workloads.values()].flatMap((chains) => [...chains])),
);

const chainsIn = oncePer((policies: ReadonlyMap<string, PolicyChain>) => {
  const chains = new Map<string, Chain>();
  const refs = new SetRefs();
  for (const { part, sets } of policies.values()) {
    for (const [key, chain] of part) chains.set(key, chain);
    refs.include(sets);
  }
  return { chains, refs };
});

const fixedChains = (config: RenderConfig, family: Family, rules: host.FixedRules): Chains =>
  inFilter({
    [names.chains.forward]: host.forwardRules(config, rules),
    [names.chains.input]: host.inputRules(config, rules),
    [names.chains.output]: host.outputRules(config, rules.hosts),
    [names.chains.workloadToHost]: host.workloadToHostRules(config, family),
    ...(isShared(config) && { [names.chains.begin]: beginning(config) }),
    ...markChains(config),
  });

const markChains = (config: RenderConfig) => ({
  [names.chains.allow]: [setMark(config.accept)],
  [names.chains.pass]: [setMark(config.pass)],
});

const inFilter = (chains: Readonly<Record<string, readonly Rule[]>>): Chains =>
  new Map(Object.entries(chains).map(([name, rules]) => [`filter/${name}`, { rules }]));

/** Files the chains of host endpoints and of their policies. */
function putHosts(parts: Map<string, Chains>, hosts: HostChains, sets: SetRefs): void {
  parts.set("hosts", hosts.chains);
  for (const { sets: its } of hosts.own) sets.include(its);
  for (const policy of hosts.shared) {
    parts.set(policy.name, policy.part);
    sets.include(policy.sets);
  }
}

/** The chains before connection tracking and NAT; `more` goes behind what host endpoints say of what comes in. */
function hookedByHosts({ jumps }: HostChains, more: readonly Rule[]): Map<string, Chain> {
  const { rawPrerouting, rawOutput, manglePrerouting } = jumps;
  const all = {
    [`raw/${names.chains.prerouting}`]: [...rawPrerouting, ...more],
    [`raw/${names.chains.rawOutput}`]: rawOutput,
    [`mangle/${names.chains.preDnat}`]: manglePrerouting,
  };
  return new Map(
    Object.entries(all).flatMap(([key, rules]) => (rules.length > 0 ? [[key, { rules }] as const] : [])),
  );
}

/** Of IPv6 where it is not supported: workloads have none, and host endpoints are enforced as ever. */
function closedChains(state: NodeState, config: RenderConfig, sets: SetRefs): Chains {
  const hosts = hostChains(state, { family: 6, config });
  const { input, output, forwardIn, forwardOut } = hosts.jumps;
  const forward = [...host.closedRules(config, ["-i", "-o"]), ...forwardIn, ...forwardOut];
  const fixed = {
    [names.chains.forward]: forward,
    [names.chains.input]: [...host.closedRules(config, ["-i"]), ...input],
    ...(output.length > 0 && { [names.chains.output]: output, ...markChains(config) }),
  };
  const parts = new Map<string, Chains>([["fixed", inFilter(fixed)]]);
  putHosts(parts, hosts, sets);
  return new Parts(parts.set("shared", hookedByHosts(hosts, [])));
}
