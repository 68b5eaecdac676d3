import { type Direction, type LocalEndpoint, ruleIds } from "@margay/calc";
import type { Chain, Rule } from "@margay/iptables";
import { formatPrefix, hostPrefix } from "@margay/net";
import type { DecidedBy } from "./cohort.ts";
import type { RenderConfig } from "./config.ts";
import { decisionOf, type EndpointContext, link, stagedIn } from "./decision.ts";
import { type Dispatch, type Entry, entryOf, fromWorkload, gotoEntry, toWorkload } from "./dispatch.ts";
import * as names from "./names.ts";
import type { PolicyChain } from "./policy.ts";

export interface EndpointChains {
  /** By key: its sources when one rule cannot check them; from it and to it, where it has chains of its own. */
  readonly chains: ReadonlyMap<string, Chain>;
  /** Where packets from it, and to it, are dispatched; none where the group of its interface says so. */
  readonly from: Entry | undefined;
  readonly to: Entry | undefined;
  /** Absent where nothing could be resolved. */
  readonly decidedBy?: DecidedBy;
  /** Of the policies and profiles that decide. */
  readonly links: readonly PolicyChain[];
  /** These, and the chains that lead to them from theirs: what decides, and groups. */
  readonly policies: readonly PolicyChain[];
}

/** The chains of one endpoint; those of `before`, which were this endpoint's, if they would be the same. A member of a cohort has none. */
export function endpointChains(
  endpoint: LocalEndpoint,
  before: EndpointChains | undefined,
  context: EndpointContext & { readonly isMember: boolean },
): EndpointChains {
  const links = endpoint.ok
    ? [...linked(endpoint, "ingress", context), ...linked(endpoint, "egress", context)]
    : [];
  if (before && sameNames(before.links, links))
    return { ...before, links, policies: [...links, ...before.policies.slice(links.length)] };
  const decisions = endpoint.ok
    ? {
        ingress: decisionOf(endpoint, { ...context, direction: "ingress" }),
        egress: decisionOf(endpoint, { ...context, direction: "egress" }),
      }
    : undefined;
  const policies = [...links, ...Object.values(decisions ?? {}).flat()];
  const decidedBy = decisions && { ingress: decisions.ingress[0].name, egress: decisions.egress[0].name };
  const shared = { links, policies, ...(decidedBy && { decidedBy }) };
  if (context.isMember) return { ...NOTHING, ...shared };
  const rules = decisions ? rulesOf(endpoint, decisions, context) : refusals(context);
  return { ...placed(endpoint.interfaceName, rules, context.config), ...shared };
}

const NOTHING = { chains: new Map(), from: undefined, to: undefined };

const sameNames = (a: readonly PolicyChain[], b: readonly PolicyChain[]): boolean =>
  a.length === b.length && a.every(({ name }, i) => name === b[i]?.name);

/** The policies and profiles of one direction that have a chain in this family. */
function linked(
  endpoint: LocalEndpoint,
  direction: Direction,
  context: EndpointContext,
): readonly PolicyChain[] {
  const { policies, profiles } = context.state;
  const all = [
    ...endpoint[direction].flatMap((tier) => tier.policies.map((id) => policies.get(id))),
    ...(endpoint.staged?.[direction] ?? []).flatMap((tier) => stagedIn(tier).map((id) => policies.get(id))),
    ...endpoint.profiles.map((name) => profiles.get(name)),
  ];
  return all.map((policy) => link(policy, direction, context)).filter((chain) => chain !== undefined);
}

/** What is asked of packets from and to one endpoint. */
interface EndpointRules {
  readonly from: readonly Rule[];
  readonly to: readonly Rule[];
  readonly sources?: readonly Rule[];
}

function refusals({ config }: EndpointContext): EndpointRules {
  const refused = [{ match: [], target: config.deny, id: ruleIds.unresolved }];
  return { from: refused, to: refused };
}

/** What is asked of this endpoint alone, then what it shares with others. */
function rulesOf(
  endpoint: LocalEndpoint,
  { ingress, egress }: Readonly<Record<Direction, readonly [PolicyChain, ...PolicyChain[]]>>,
  context: EndpointContext,
): EndpointRules {
  const { rules, sources } = antiSpoof(endpoint, context);
  const toItself = (word: "-i" | "-o") => ({
    match: [word, endpoint.interfaceName],
    target: ["-j", "RETURN"],
    id: ruleIds.toItself,
  });
  const decided = ([{ name }]: typeof ingress) => ({ match: [], target: ["-g", name] });
  return {
    from: [...rules, toItself("-o"), decided(egress)],
    to: [toItself("-i"), decided(ingress)],
    ...(sources && { sources }),
  };
}

/** In chains of its own, or where it is dispatched. */
function placed(
  interfaceName: string,
  { from, to, sources }: EndpointRules,
  config: RenderConfig,
): Pick<EndpointChains, "chains" | "from" | "to"> {
  const { chains } = names;
  const entry = (dispatch: Dispatch, rules: readonly Rule[]) =>
    config.ownChains ? gotoEntry(interfaceName, dispatch, config) : entryOf(interfaceName, dispatch, rules);
  const own = [
    ...(config.ownChains
      ? ([
          [chains.from, from],
          [chains.to, to],
        ] as const)
      : []),
    ...(sources ? ([[chains.sources, sources]] as const) : []),
  ];
  return {
    chains: new Map(own.map(([nameOf, rules]) => [`filter/${nameOf(interfaceName)}`, { rules }])),
    from: entry(fromWorkload, from),
    to: entry(toWorkload, to),
  };
}

/** A workload sends only from its own MAC and addresses; checked before connection tracking is asked. */
function antiSpoof(
  endpoint: LocalEndpoint,
  { family, config }: EndpointContext,
): { rules: readonly Rule[]; sources?: readonly Rule[] } {
  const { mac, interfaceName } = endpoint;
  const nets = [...endpoint.addresses.map(hostPrefix), ...endpoint.spoofable].filter(
    (net) => net.family === family,
  );
  const wrongMac: Rule[] =
    mac === undefined
      ? []
      : [{ match: ["-m", "mac", "!", "--mac-source", mac], target: config.deny, id: ruleIds.spoofedMac }];
  if (nets.some(({ length }) => length === 0)) return { rules: wrongMac }; // iptables-nft takes no `! -s 0.0.0.0/0`
  const [only] = nets;
  const refusal = { target: config.deny, id: ruleIds.spoofedAddress };
  if (only && nets.length === 1)
    return { rules: [{ match: ["!", "-s", formatPrefix(only)], ...refusal }, ...wrongMac] };
  const sources = [
    ...nets.map((net) => ({ match: ["-s", formatPrefix(net)], target: ["-j", "RETURN"] })),
    { match: [], ...refusal },
  ];
  return {
    rules: [{ match: [], target: ["-j", names.chains.sources(interfaceName)] }, ...wrongMac],
    sources,
  };
}
