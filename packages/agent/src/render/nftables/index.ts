import type { LocalEndpoint, NodeState } from "@margay/calc";
import type { Hook, IpSet, Chain as Words } from "@margay/iptables";
import type { Family } from "@margay/net";
import { type Base, type Item, itemKey } from "@margay/nftables";
import { oncePer, Parts, partsOf } from "@margay/reconcile";
import { chainsOf } from "../../audit.ts";
import { type Cohorts, NOBODY } from "../cohort.ts";
import { type RenderConfig, type Rendered, render, renderConfig } from "../index.ts";
import * as names from "../names.ts";
import { type ChainContext, type Translated, translateAnew, translateChain } from "./chain.ts";
import { chainNameOf, setName } from "./names.ts";
import { kindOf, type SetKind, type SetKinds, translateSet } from "./sets.ts";

/**
 * The tables that enforce a node's state. Both backends have one structure of chains, which render/ makes: what they decide
 * is the same by construction (docs/adr/0009). Here its rules become statements, dispatching rules a verdict map, and
 * lists of ports sets. Pure; what did not change since the last call are the same objects.
 */
export function renderNftables(state: NodeState, cohorts: Cohorts = NOBODY): ReadonlyMap<string, Item> {
  return translate(render(state, withMaps(renderConfig(state.config)), cohorts));
}

const configs = new WeakMap<RenderConfig, RenderConfig>();

/** NF_LOG_PREFIXLEN, the last of which is 0. */
const LOG_PREFIX = 127;

/** All interfaces in one chain: one lookup in a map, however many there are. */
function withMaps(config: RenderConfig): RenderConfig {
  const own = { dispatchAtMost: Number.POSITIVE_INFINITY, ownChains: true, logPrefixAtMost: LOG_PREFIX };
  const known = configs.get(config) ?? { ...config, ...own };
  configs.set(config, known);
  return known;
}

export function translate({ chains4, chains6, hooks4, hooks6, ipsets }: Rendered): ReadonlyMap<string, Item> {
  const kinds = kindsIn(ipsets);
  const parts = new Map<string, Translated>();
  for (const [id, some] of partsOf(ipsets)) parts.set(`sets/${id}`, sets(some));
  for (const [family, chains, hooks] of [
    [4, chains4, hooks4],
    [6, chains6, hooks6],
  ] as const) {
    const context = { family, kinds };
    for (const { key, items } of translateParts(partsOf(chains), context)) parts.set(key, items);
    parts.set(`${family}/hooks`, baseChains(hooks, context));
  }
  return new Parts(parts);
}

let lastKinds: SetKinds = new Map();

/** The same object while it says the same. */
function kindsIn(ipsets: ReadonlyMap<string, IpSet>): SetKinds {
  const kinds = new Map([...partsOf(ipsets).values()].flatMap(notAddressesIn));
  if (kinds.size !== lastKinds.size || [...kinds].some(([name, kind]) => lastKinds.get(name) !== kind))
    lastKinds = kinds;
  return lastKinds;
}

const notAddressesIn = oncePer(
  (ipsets: ReadonlyMap<string, IpSet>): readonly (readonly [string, SetKind])[] =>
    [...ipsets].flatMap(([name, set]) => (kindOf(set) === "addresses" ? [] : [[name, kindOf(set)] as const])),
);

const sets = oncePer(
  (ipsets: ReadonlyMap<string, IpSet>): Translated =>
    new Map(
      [...ipsets].flatMap(([name, set]) =>
        translateSet(name, set).map(([own, item]) => [itemKey(set.family, "set", own), item]),
      ),
    ),
);

interface KeptPart {
  readonly key: string;
  readonly part: ReadonlyMap<string, Words>;
  readonly items: Translated;
}

interface Last {
  readonly kinds: SetKinds;
  readonly parts: ReadonlyMap<string, KeptPart>;
}

/** What the last call made. */
const lasts: Partial<Record<Family, Last>> = {};

/** Those that are the same objects as in the last call are not looked into. */
function translateParts(
  parts: ReadonlyMap<string, ReadonlyMap<string, Words>>,
  context: ChainContext,
): Iterable<KeptPart> {
  const last = lasts[context.family];
  const known = last?.kinds === context.kinds ? last.parts : new Map<string, KeptPart>();
  const now = new Map<string, KeptPart>();
  for (const [id, part] of parts) {
    const before = known.get(id);
    if (before?.part === part) now.set(id, before);
    else now.set(id, { key: `${context.family}/${id}`, part, items: translatePart(part, context) });
  }
  lasts[context.family] = { kinds: context.kinds, parts: now };
  return now.values();
}

function translatePart(part: ReadonlyMap<string, Words>, context: ChainContext): Translated {
  const items = new Map<string, Item>();
  for (const [key, chain] of part)
    for (const [name, item] of translateChain(key, chain, context)) items.set(name, item);
  return items;
}

/** iptables' own priorities, by table. */
const PRIORITIES: Readonly<Record<string, Partial<Record<Base["hook"], number>>>> = {
  raw: { prerouting: -300, output: -300 },
  mangle: { prerouting: -150, input: -150, forward: -150, output: -150, postrouting: -150 },
  nat: { prerouting: -100, input: 100, output: -100, postrouting: 100 },
  filter: { input: 0, forward: 0, output: 0 },
};
/** So much before the tables of iptables, or (chainInsertMode Append) after them. */
const BESIDE = 10;

const keptHooks = new WeakMap<Hook, Translated>();

function baseChains(hooks: ReadonlyMap<string, Hook>, context: ChainContext): Translated {
  const items = new Map<string, Item>();
  for (const [key, hook] of hooks) {
    const known = keptHooks.get(hook) ?? baseChain(key, hook, context);
    keptHooks.set(hook, known);
    for (const [name, item] of known) items.set(name, item);
  }
  return items;
}

/** `filter/FORWARD` */
function baseChain(key: string, { rules, append = [] }: Hook, context: ChainContext): Translated {
  const [table = "", builtin = ""] = key.split("/");
  const hook = builtin.toLowerCase() as Base["hook"]; // a key of PRIORITIES, or there is no priority
  const priority = PRIORITIES[table]?.[hook];
  if (priority === undefined) throw new Error(`no hook for ${key}`);
  const type = table === "nat" ? "nat" : table === "mangle" && hook === "output" ? "route" : "filter";
  const base = { type, hook, priority: priority + (append.length > 0 ? BESIDE : -BESIDE) } as const;
  return translateAnew({ key, rules: [...rules, ...append], base }, context, new Set());
}

/** What one workload's packets pass: chains, the maps that lead to them, and what its sources are checked by. */
export function itemsOf(
  endpoint: LocalEndpoint,
  state: NodeState,
  cohorts: Cohorts,
): ReadonlyMap<string, Item> {
  const rendered = render(state, withMaps(renderConfig(state.config)), cohorts);
  const all = translate(rendered);
  const isMember = cohorts.members.has(endpoint.id);
  const group = isMember ? cohorts.groups.get(endpoint.interfaceName) : undefined;
  const found = new Map<string, Item>();
  for (const [family, chains] of [
    [4, rendered.chains4],
    [6, rendered.chains6],
  ] as const)
    for (const name of [
      ...[...chainsOf(endpoint, chains, group).keys()].flatMap((key) =>
        (["chain", "map"] as const).map((kind) => itemKey(family, kind, chainNameOf(key))),
      ),
      ...[names.sets.addresses(family), names.sets.macs(family)].map((set) =>
        itemKey(family, "set", setName(set)),
      ),
    ]) {
      const item = all.get(name);
      if (item) found.set(name, item);
    }
  return found;
}
