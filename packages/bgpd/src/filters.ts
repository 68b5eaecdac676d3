import type { BGPFilter, BGPFilterRule } from "@margay/api";
import type { Community, FilterOperation, FilterRule, LargeCommunity } from "@margay/bgp";
import { parsePrefix } from "@margay/net";
import type { Filters } from "./config.ts";

/** BGPFilters in order, as rules of `@margay/bgp` (pure). `interface` and `priority` conditions are not there yet: such a rule never matches. */
export function filtersOf(filters: readonly BGPFilter[]): Filters {
  const rules = (field: "importV4" | "importV6" | "exportV4" | "exportV6") =>
    filters.flatMap(({ spec }) => spec[field] ?? []).flatMap(ruleOf);
  return {
    import: { 4: rules("importV4"), 6: rules("importV6") },
    export: { 4: rules("exportV4"), 6: rules("exportV6") },
  };
}

function ruleOf(rule: BGPFilterRule): FilterRule[] {
  if (rule.interface !== undefined || rule.priority !== undefined) return [];
  const { cidr, matchOperator, prefixLength, peerType, asPathPrefix } = rule;
  const community = rule.communities?.values[0];
  return [
    {
      action: rule.action === "Accept" ? "accept" : "reject",
      ...(cidr && matchOperator ? { cidr: { prefix: parsePrefix(cidr), operator: matchOperator } } : {}),
      ...(prefixLength ? { prefixLength: { ...prefixLength } } : {}),
      ...(rule.source ? { fromRemotePeers: true } : {}),
      ...(peerType ? { peerType: peerType === "eBGP" ? "ebgp" : "ibgp" } : {}),
      ...(community ? { community: communityOf(community) } : {}),
      ...(asPathPrefix ? { asPathPrefix } : {}),
      operations: (rule.operations ?? []).flatMap(operationOf),
    },
  ];
}

type Operation = NonNullable<BGPFilterRule["operations"]>[number];

function operationOf({ addCommunity, prependASPath }: Operation): FilterOperation[] {
  if (addCommunity) return [{ kind: "add-community", value: communityOf(addCommunity.value) }];
  if (prependASPath) return [{ kind: "prepend", ases: prependASPath.prefix }];
  return [];
}

/** `"64512:100"` or `"64512:1:2"`, checked by api. */
export function communityOf(text: string): Community {
  const parts = text.split(":").map(Number);
  const [a = 0, b = 0, c] = parts;
  return c === undefined ? a * 65536 + b : ([a, b, c] satisfies LargeCommunity);
}
