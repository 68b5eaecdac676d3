import { type Address, contains, type Family, sameAddress } from "@margay/net";
import { matches, type Packet, type Sets } from "./match.ts";
import type { CompiledPolicy, Direction, LocalEndpoint, TierPolicies } from "./model.ts";
import { ruleIds } from "./rule-ids.ts";
import { isForgedByWorkload, type VxlanFacts } from "./vxlan-guard.ts";

/** What evaluation reads of a NodeState. */
export interface Enforced {
  readonly endpoints: readonly LocalEndpoint[];
  readonly policies: ReadonlyMap<string, CompiledPolicy>;
  readonly profiles: ReadonlyMap<string, CompiledPolicy>;
  readonly sets: Sets;
}

/** One thing that was asked on the way, in order; the last one decided. */
export interface Step {
  /** The endpoint asked, `<namespace>/<name>`. */
  readonly endpoint?: string;
  readonly direction?: Direction;
  readonly tier?: string;
  /** The policy or profile asked. */
  readonly policy?: string;
  /** The rule that matched, or the decision of `ruleIds`; absent: no rule of the policy matched. */
  readonly rule?: string;
  readonly action: "allow" | "deny" | "pass" | "log" | "no-match";
}

export interface Verdict {
  readonly verdict: "allow" | "deny";
  readonly steps: readonly Step[];
}

/** Where a new flow's first packet enters and leaves the node; an absent interface is not a workload's. */
export interface Journey {
  readonly fromInterface?: string;
  readonly sourceMac?: string;
  readonly toInterface?: string;
  /** As if staged policies were enforced. */
  readonly staged?: boolean;
}

/**
 * What happens to a packet that the node forwards: the sender's egress policy, then the receiver's ingress policy
 * (calico.md §4.4 rule 4). A workload interface without an endpoint drops.
 */
export function forward(
  state: Enforced & Omit<VxlanFacts, "hosts">,
  packet: Packet,
  { fromInterface, sourceMac, toInterface, staged = false }: Journey,
): Verdict {
  const steps: Step[] = [];
  if (fromInterface !== undefined) {
    const sender = endpointAt(state, fromInterface, packet);
    if (isForgedByWorkload(state, packet))
      return deny([{ endpoint: sender?.id, rule: ruleIds.vxlanFromWorkload, action: "deny" }]);
    const spoofed = sender?.ok ? spoof(sender, packet.source, sourceMac) : undefined;
    if (spoofed) return deny([{ endpoint: sender?.id, rule: spoofed, action: "deny" }]);
    if (sender?.ok && fromInterface === toInterface)
      return { verdict: "allow", steps: [{ endpoint: sender.id, rule: ruleIds.toItself, action: "allow" }] };
    const left = verdict(state, packet, { endpoint: sender?.id, direction: "egress", staged });
    if (left.verdict === "deny") return left;
    steps.push(...left.steps);
  }
  if (toInterface === undefined) return { verdict: "allow", steps };
  const receiver = endpointAt(state, toInterface, packet);
  const arrived = verdict(state, packet, { endpoint: receiver?.id, direction: "ingress", staged });
  return { verdict: arrived.verdict, steps: [...steps, ...arrived.steps] };
}

/** The endpoint behind an interface, in the packet's family: one without an address there takes no part in it. */
const endpointAt = (state: Enforced, name: string, { source }: Packet): LocalEndpoint | undefined =>
  state.endpoints.find((endpoint) => endpoint.interfaceName === name && isInFamily(endpoint, source.family));

/** Whether an endpoint may send or receive packets of a family at all. */
export const isInFamily = ({ addresses, spoofable }: LocalEndpoint, family: Family): boolean =>
  addresses.some((address) => address.family === family) || spoofable.some((net) => net.family === family);

/** The rule that refuses what an endpoint does not own, if it does not. */
function spoof(endpoint: LocalEndpoint, source: Address, mac: string | undefined): string | undefined {
  const owns =
    endpoint.addresses.some((address) => sameAddress(address, source)) ||
    endpoint.spoofable.some((net) => contains(net, source));
  if (!owns) return ruleIds.spoofedAddress;
  return endpoint.mac !== undefined && mac !== undefined && endpoint.mac !== mac
    ? ruleIds.spoofedMac
    : undefined;
}

/**
 * The policy decision of one endpoint in one direction (calico.md §4.4), evaluated naively. An endpoint that is not
 * known, or not ok, denies.
 */
export function verdict(
  state: Enforced,
  packet: Packet,
  at: { readonly endpoint: string | undefined; readonly direction: Direction; readonly staged?: boolean },
): Verdict {
  const endpoint = at.endpoint === undefined ? undefined : byId(state.endpoints).get(at.endpoint);
  if (!endpoint) return deny([{ rule: ruleIds.unknownInterface, action: "deny" }]);
  const common = { endpoint: endpoint.id, direction: at.direction };
  if (!endpoint.ok) return deny([{ ...common, rule: ruleIds.unresolved, action: "deny" }]);
  const ask: Question = { state, packet, direction: at.direction };
  const tiers = (at.staged && endpoint.staged) || endpoint;
  const steps = decide(ask, { profiles: endpoint.profiles, tiers: tiers[at.direction] }).map((step) => ({
    ...common,
    ...step,
  }));
  return { verdict: steps.at(-1)?.action === "allow" ? "allow" : "deny", steps };
}

const maps = new WeakMap<Enforced["endpoints"], ReadonlyMap<string, LocalEndpoint>>();

/** One map for all that is asked of a state: thousands of connections are judged by it. */
function byId(endpoints: Enforced["endpoints"]): ReadonlyMap<string, LocalEndpoint> {
  const map = maps.get(endpoints) ?? new Map(endpoints.map((endpoint) => [endpoint.id, endpoint]));
  maps.set(endpoints, map);
  return map;
}

const deny = (steps: readonly Step[]): Verdict => ({ verdict: "deny", steps });

export interface Question {
  readonly state: Enforced;
  readonly packet: Packet;
  readonly direction: Direction;
}

/** Steps up to the one that ends it: rules 1 to 3 of calico.md §4.4. */
export function decide(
  ask: Question,
  { tiers, profiles }: { readonly tiers: readonly TierPolicies[]; readonly profiles: readonly string[] },
): Step[] {
  const steps = tiersSteps(ask, tiers);
  if (ends(steps.at(-1))) return steps;
  for (const name of profiles) {
    steps.push(...policySteps(ask, ask.state.profiles.get(name), name));
    if (ends(steps.at(-1))) return steps;
  }
  return [...steps, { rule: ruleIds.noMatch(ask.direction), action: "deny" }];
}

/** Tier by tier, up to one that ends it. */
export function tiersSteps(ask: Question, tiers: readonly TierPolicies[]): Step[] {
  const steps: Step[] = [];
  for (const tier of tiers) {
    steps.push(...tierSteps(ask, tier));
    if (ends(steps.at(-1))) return steps;
  }
  return steps;
}

/** A Pass in a profile ends it: there is no tier left to pass to, so the packet meets the next profile. */
export const ends = (step: Step | undefined): boolean => step?.action === "allow" || step?.action === "deny";

function tierSteps(ask: Question, { tier, policies, defaultAction }: TierPolicies): Step[] {
  const steps: Step[] = [];
  for (const id of policies) {
    const found = policySteps(ask, ask.state.policies.get(id), id);
    steps.push(...found.map((step) => ({ tier, ...step })));
    const last = steps.at(-1);
    if (ends(last) || last?.action === "pass") return steps;
  }
  return [...steps, { tier, rule: ruleIds.tierDefault(tier, ask.direction), action: defaultAction }];
}

/** Every Log that matched and the first other rule that did; a single `no-match` when none did. */
function policySteps(
  { state, packet, direction }: Question,
  policy: CompiledPolicy | undefined,
  id: string,
): Step[] {
  const steps: Step[] = [];
  for (const rule of policy?.[direction] ?? []) {
    if (!matches(rule, packet, state.sets)) continue;
    steps.push({ policy: id, rule: rule.id, action: rule.action });
    if (rule.action !== "log") return steps;
  }
  return [...steps, { policy: id, action: "no-match" }];
}
