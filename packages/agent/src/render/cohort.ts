import { type LocalEndpoint, ruleIds } from "@margay/calc";
import type { Chain, IpSet, Rule } from "@margay/iptables";
import { type Family, formatAddress } from "@margay/net";
import { PartedSet } from "@margay/reconcile";
import type { RenderConfig } from "./config.ts";
import * as names from "./names.ts";
import type { SetRefs } from "./sets.ts";

/**
 * Workloads that the same policies and profiles decide, dispatched by the group that their interfaces are in (`ip link set ... group`): a
 * replica more or less is members of two sets, and no rule (docs/adr/0023-cohorts.md).
 */
export interface Cohorts {
  /** By group: a workload that needs what all in it need. */
  readonly cohorts: ReadonlyMap<number, LocalEndpoint>;
  /** Ids of the workloads that have no rules of their own. */
  readonly members: ReadonlySet<string>;
  /** By interface: the group that it is to be in, as of now; of all that are members or will be. */
  readonly groups: ReadonlyMap<string, number>;
}

export const NOBODY: Cohorts = { cohorts: new Map(), members: PartedSet.empty, groups: new Map() };

/** The chains, without a prefix, in which one workload's packets are decided. */
export type DecidedBy = Readonly<Record<"ingress" | "egress", string>>;

/** Which address, and which address with which MAC, is whose. */
export interface Sources {
  readonly addresses: PartedSet;
  readonly macs: PartedSet;
}

export const NO_SOURCES: Sources = { addresses: PartedSet.empty, macs: PartedSet.empty };

/** With these workloads, or without; none of them shares an address or an interface with another. */
export function sourcesAfter(
  { addresses, macs }: Sources,
  family: Family,
  changes: readonly (readonly [endpoint: LocalEndpoint, isIn: boolean])[],
): Sources {
  const edits = (of: (endpoint: LocalEndpoint) => string) =>
    changes.flatMap(([endpoint, isIn]) =>
      endpoint.addresses
        .filter((address) => address.family === family)
        .map((address) => [`${formatAddress(address)},${of(endpoint)}`, isIn] as const),
    );
  return {
    addresses: addresses.edited(new Map(edits(({ interfaceName }) => interfaceName))),
    macs: macs.edited(new Map(edits(({ mac = "" }) => mac))),
  };
}

type Chains = ReadonlyMap<string, Chain>;
type Decisions = ReadonlyMap<number, DecidedBy>;

interface CohortContext {
  readonly config: RenderConfig;
  readonly family: Family;
  readonly sets: SetRefs;
}

/** Where packets of interfaces that have no rules of their own go: their sources are checked, then their group decides. */
export function cohortChains(
  decisions: Decisions,
  { addresses, macs }: Sources,
  { config, family, sets }: CohortContext,
): Chains {
  sets.put(names.sets.addresses(family), setOf("hash:net,iface", addresses, family));
  sets.put(names.sets.macs(family), setOf("hash:ip,mac", macs, family));
  const last = lasts.get(decisions);
  if (last?.config === config) return last.chains;
  const chains = chainsOf(decisions, config, family);
  lasts.set(decisions, { config, chains });
  return chains;
}

/** What the last call made of the same decisions, which are one family's. */
const lasts = new WeakMap<Decisions, { readonly config: RenderConfig; readonly chains: Chains }>();

function chainsOf(decisions: Decisions, config: RenderConfig, family: Family): Chains {
  const [own, macs] = [names.sets.addresses(family), names.sets.macs(family)];
  const itself = { match: ["-m", "set", "--match-set", own, "src,dst"], target: ["-j", "RETURN"] };
  const isWorkloads = ["-m", "set", "--match-set", own, "src,src"]; // who is nobody's may say that he is this one
  const checked = (egress: string): readonly Rule[] => [
    { match: otherThan(own), target: config.deny, id: ruleIds.spoofedAddress },
    { match: otherThan(macs), target: config.deny, id: ruleIds.spoofedMac },
    { ...itself, id: ruleIds.toItself },
    { match: [], target: ["-g", egress] },
  ];
  const all = [...decisions];
  const known = keptOf(config, family);
  const nobodys = { match: [], target: config.deny, id: ruleIds.unknownInterface };
  const chains: (readonly [name: string, rules: readonly Rule[]])[] = [
    [
      names.chains.fromCohort,
      [...all.map(([group, { egress }]) => toGroup("src", group, names.chains.checked(egress))), nobodys],
    ],
    [
      names.chains.toCohort,
      [
        { ...itself, match: [...isWorkloads, ...itself.match], id: ruleIds.toItself },
        ...all.map(([group, { ingress }]) => toGroup("dst", group, ingress)),
        nobodys,
      ],
    ],
  ];
  return new Map([
    ...all.map(([, { egress }]) => {
      const rules = known.get(egress) ?? { rules: checked(egress) };
      known.set(egress, rules);
      return [`filter/${names.chains.checked(egress)}`, rules] as const;
    }),
    ...chains.map(([name, rules]) => [`filter/${name}`, { rules }] as const),
  ]);
}

const KEPT_AT_MOST = 10_000;
const keptChecks = new WeakMap<RenderConfig, Record<Family, Map<string, Chain>>>();

/** Chains that check, by what decides then: the same objects as the last time. */
function keptOf(config: RenderConfig, family: Family): Map<string, Chain> {
  const both = keptChecks.get(config) ?? { 4: new Map(), 6: new Map() };
  keptChecks.set(config, both);
  if (both[family].size > KEPT_AT_MOST) both[family].clear();
  return both[family];
}

const otherThan = (set: string) => ["-m", "set", "!", "--match-set", set, "src,src"];

const toGroup = (side: "src" | "dst", group: number, chain: string): Rule => ({
  match: ["-m", "devgroup", `--${side}-group`, String(group)],
  target: ["-g", chain],
});

const kept = new WeakMap<ReadonlySet<string>, IpSet>();

/** The same object for the same members. */
function setOf(type: IpSet["type"], members: PartedSet, family: Family): IpSet {
  const known = kept.get(members);
  if (known?.type === type && known.family === family) return known;
  const made = { type, family, members };
  kept.set(members, made);
  return made;
}
