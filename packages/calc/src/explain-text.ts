import { formatAddress, formatPrefix } from "@margay/net";
import type { PolicyStep } from "./explanation.ts";
import type { Leg } from "./leg.ts";
import { ruleIds } from "./rule-ids.ts";

/** What a policy step says to people; `before` are the steps of the same endpoint so far. */
export function policyText(step: PolicyStep, before: readonly PolicyStep[]): string {
  const { tier, policy, revision, location, index, rule, action, direction } = step;
  const origin = [location, revision === undefined ? undefined : `revision ${revision}`].filter(Boolean);
  const name = `${policy}${origin.length === 0 ? "" : ` (${origin.join(", ")})`}`;
  if (policy !== undefined && index !== undefined)
    return `${action} by ${name}, ${direction} rule ${index}${tier === undefined ? "" : ` (tier ${tier})`}`;
  if (policy !== undefined) return `no rule of ${name} matches`;
  if (tier !== undefined) {
    const asked = before.filter((s) => s.tier === tier && s.policy !== undefined).map((s) => s.policy);
    return `${action} by default of tier ${tier}: no rule of ${asked.join(", ")} matched`;
  }
  if (rule?.startsWith("failsafe/")) return `${action} by ${rule}: a port that host endpoints leave open`;
  return `${action} by ${DECISIONS[rule ?? ""] ?? rule}`;
}

/** Words for decisions that no policy makes. */
const DECISIONS: Readonly<Record<string, string>> = {
  [ruleIds.unresolved]: "the endpoint being closed: something it needs cannot be resolved",
  [ruleIds.spoofedAddress]: "anti-spoofing: the source is none of the pod's addresses",
  [ruleIds.toItself]: "no policy keeping a pod from itself",
  [ruleIds.vxlanFromWorkload]: "no pod being allowed to send VXLAN (allowVXLANPacketsFromWorkloads)",
  [ruleIds.vxlanFromOutside]: "the source being no node's address: only nodes may send VXLAN",
  [ruleIds.unknownInterface]: "there being no endpoint behind that interface",
  [ruleIds.hostForward]: "no policy of the host endpoint being for what the node forwards",
  [ruleIds.ipv6Off]: "ipv6Support: false",
  [ruleIds.noMatch("ingress")]: "nothing allowing it: no policy selects the pod and no profile allows",
  [ruleIds.noMatch("egress")]: "nothing allowing it: no policy selects the pod and no profile allows",
};

/** What a route says to people. */
export function routeText(leg: Leg): string {
  switch (leg.kind) {
    case "pod":
      return "a pod of this node: its own route";
    case "local":
      return "an address of this node";
    case "blackhole":
      return `blackhole ${formatPrefix(leg.block)}: this node's block, and no pod has the address`;
    case "own-routes":
      return `by the node's own routes: ${leg.why}`;
    case "remote": {
      const { block, way, daemon, wanted, via } = leg.reached;
      const instead = wanted ? `, as ${wanted} is not possible between the two (yet)` : "";
      return `${formatPrefix(block)} of ${leg.node}, by ${way}${instead}${via ? ` through ${formatAddress(via)}` : ""} (${daemon} writes the route)`;
    }
  }
}
