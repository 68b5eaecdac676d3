import type { BGPFilter, BGPFilterRule } from "@margay/api";
import type { Community, FilterOperation, FilterRule, LargeCommunity } from "@margay/bgp";
import { parsePrefix } from "@margay/net";
import type { Filters } from "./config.ts";

/**
 * BGPFilters in order, as rules of `@margay/bgp` (pure). A rule with a condition or an operation that we do not have
 * fails closed: it refuses all that its other conditions match, and `unsupported` names it.
 */
export function filtersOf(filters: readonly BGPFilter[]): Filters {
  const rules = (field: "importV4" | "importV6" | "exportV4" | "exportV6") =>
    filters.flatMap(({ spec }) => spec[field] ?? []).flatMap(ruleOf);
  return {
    import: { 4: rules("importV4"), 6: rules("importV6") },
    export: { 4: rules("exportV4"), 6: rules("exportV6") },
  };
}

/** `"BGPFilter f importV4[0]: color is not supported, what else the rule matches is refused"` for each such rule. */
export const unsupported = (filters: readonly BGPFilter[]): string[] =>
  filters.flatMap(({ metadata, spec }) =>
    lists.flatMap((list) =>
      (spec[list] ?? []).flatMap((rule, i) =>
        lacking(rule).map(
          (what) =>
            `BGPFilter ${metadata.name} ${list}[${i}]: ${what} is not supported, what else the rule matches is refused`,
        ),
      ),
    ),
  );

const lists = ["importV4", "importV6", "exportV4", "exportV6"] as const;
const known: ReadonlySet<string> = new Set([
  ...["action", "cidr", "matchOperator", "prefixLength", "source", "peerType"],
  ...["communities", "asPathPrefix", "priority", "operations", "interface"],
]);
const knownOperations: ReadonlySet<string> = new Set(["addCommunity", "prependASPath", "setPriority"]);

/** Parts of a rule that we cannot carry out, whatever a later version of the resource may bring. */
function lacking(rule: BGPFilterRule): string[] {
  const given = (part: object) =>
    Object.entries(part).flatMap(([name, value]) => (value === undefined ? [] : [name]));
  return [
    ...given(rule).filter((name) => !known.has(name)),
    ...(rule.operations ?? []).flatMap(given).filter((name) => !knownOperations.has(name)),
  ];
}

function ruleOf(rule: BGPFilterRule): FilterRule[] {
  const closed = lacking(rule).length > 0;
  const { cidr, matchOperator, prefixLength, peerType, asPathPrefix } = rule;
  const community = rule.communities?.values[0];
  return [
    {
      action: rule.action === "Accept" && !closed ? "accept" : "reject",
      ...(cidr && matchOperator ? { cidr: { prefix: parsePrefix(cidr), operator: matchOperator } } : {}),
      ...(prefixLength ? { prefixLength: { ...prefixLength } } : {}),
      ...(rule.source ? { fromRemotePeers: true } : {}),
      ...(peerType ? { peerType: peerType === "eBGP" ? "ebgp" : "ibgp" } : {}),
      ...(community ? { community: communityOf(community) } : {}),
      ...(asPathPrefix ? { asPathPrefix } : {}),
      ...(rule.interface === undefined ? {} : { interface: rule.interface }),
      ...(rule.priority === undefined ? {} : { priority: rule.priority }),
      operations: closed ? [] : (rule.operations ?? []).flatMap(operationOf),
    },
  ];
}

type Operation = NonNullable<BGPFilterRule["operations"]>[number];

function operationOf({ addCommunity, prependASPath, setPriority }: Operation): FilterOperation[] {
  if (addCommunity) return [{ kind: "add-community", value: communityOf(addCommunity.value) }];
  if (prependASPath) return [{ kind: "prepend", ases: prependASPath.prefix }];
  if (setPriority) return [{ kind: "set-priority", value: setPriority.value }];
  return [];
}

/** `"64512:100"` or `"64512:1:2"`, checked by api. */
export function communityOf(text: string): Community {
  const parts = text.split(":").map(Number);
  const [a = 0, b = 0, c] = parts;
  return c === undefined ? a * 65536 + b : ([a, b, c] satisfies LargeCommunity);
}
