import type { Family } from "@margay/net";
import type { Request } from "@margay/netlink";
import { setDifference } from "@margay/reconcile";
import { elementsOf } from "./element.ts";
import { type Base, type Chain, type Item, type NftMap, type NftSet, parseKey } from "./item.ts";
import * as message from "./message.ts";
import { sameKind } from "./read.ts";
import { type Rule, ruleHash } from "./statement.ts";

/** What the kernel has under a key, as far as we know. Of sets, `elements` is in the form of `elementsOf`. */
export type Held =
  | {
      readonly kind: "chain";
      readonly base: Base | undefined;
      readonly hashes: readonly string[];
      /** Its rules; undefined: to be read before it is edited. */
      readonly rules?: readonly Handled[] | undefined;
    }
  | { readonly kind: "set"; readonly set: NftSet | NftMap; readonly elements: ReadonlySet<string> };

/** A rule that is in the kernel. */
export interface Handled {
  readonly handle: number;
  readonly hash: string | undefined;
}

/** One that will be: the answer to the request says its handle. */
interface Requested {
  readonly hash: string;
  readonly request: Request;
}

/** Messages in an order that the kernel takes. */
export interface Edits {
  /** What no packet can reach yet: new chains that nothing jumps to, new sets. */
  readonly prepare: readonly Request[];
  /** What changes the way of packets, by what it changes: should be one transaction. */
  readonly commit: readonly (readonly Request[])[];
  /** The rules of the chains afterwards, by key. */
  readonly rules: ReadonlyMap<string, readonly (Handled | Requested)[]>;
}

export interface Before {
  readonly table: string;
  readonly mark: string;
  readonly held: ReadonlyMap<string, Held>;
  /** Rules of the chains that `unreadChains` named, as they are now, by key. */
  readonly rules: ReadonlyMap<string, readonly Handled[]>;
  /** Whether the kernel is to say the new rules' handles. */
  readonly isEchoed: boolean;
}

/** The chains that are there and would be edited, and whose rules must be read first, for their handles. */
export const unreadChains = (held: ReadonlyMap<string, Held>, wanted: ReadonlyMap<string, Item>): string[] =>
  [...wanted.keys()].filter((key) => {
    const known = held.get(key);
    return known?.kind === "chain" && known.rules === undefined;
  });

/** What makes the wanted items so (pure). */
export function edits(before: Before, wanted: ReadonlyMap<string, Item>): Edits {
  const [chains, sets, elements, rules]: Request[][] = [[], [], [], []] as const;
  const [changes, roots]: [Request[][], Request[][]] = [[], []];
  const after = new Map<string, readonly (Handled | Requested)[]>();
  for (const [key, item] of wanted) {
    const { family, name } = parseKey(key);
    const place = { family, table: before.table };
    const held = before.held.get(key);
    if (item.kind === "chain") {
      const at = { ...place, chain: name, mark: before.mark, isEchoed: before.isEchoed };
      const fill = () => {
        const fresh = requested(item.rules, at);
        after.set(key, fresh);
        return fresh.map(({ request }) => request);
      };
      if (held?.kind === "chain" && sameBase(held.base, item.base)) {
        const edit = chainEdit(held.rules ?? before.rules.get(key) ?? [], item.rules, at);
        changes.push([...edit.requests]);
        after.set(key, edit.after);
      } else if (held || item.base) {
        const former = held ? [message.deleteRule(place, name), message.deleteChain(place, name)] : [];
        roots.push([...former, message.newChain(place, name, item), ...fill()]);
      } else {
        chains?.push(message.newChain(place, name, item));
        rules?.push(...fill());
      }
    } else {
      const isKept = held?.kind === "set" && sameKind(held.set, item);
      const had = isKept ? held.elements : new Set<string>();
      if (!isKept)
        sets?.push(...(held ? [message.deleteSet(place, name)] : []), message.newSet(place, name, item));
      const edit = elementEdit(had, { ...place, name, item });
      if (isKept) changes.push([...edit]);
      else elements?.push(...edit);
    }
  }
  return {
    prepare: [...(chains ?? []), ...(sets ?? []), ...(elements ?? []), ...(rules ?? [])],
    commit: [...changes, ...roots],
    rules: after,
  };
}

/** With the handles that the kernel answered; undefined if it did not say all. */
export function handled(
  rules: readonly (Handled | Requested)[] | undefined,
  handles: ReadonlyMap<Request, number>,
): readonly Handled[] | undefined {
  const known = rules?.flatMap((rule) => {
    const handle = "handle" in rule ? rule.handle : handles.get(rule.request);
    return handle === undefined ? [] : [{ handle, hash: rule.hash }];
  });
  return known?.length === rules?.length ? known : undefined;
}

const sameBase = (a: Base | undefined, b: Base | undefined): boolean =>
  a?.type === b?.type && a?.hook === b?.hook && a?.priority === b?.priority;

interface Edited extends message.RuleAt {
  readonly mark: string;
}

const requested = (rules: readonly Rule[], { mark, ...at }: Edited): readonly Requested[] =>
  rules.map((rule) => ({ hash: ruleHash(rule), request: message.newRule(at, rule, mark) }));

/**
 * Rules at the beginning and at the end that stay keep their counters; those between are replaced. The new ones come behind the
 * old, which go from the last to the first: wherever this is interrupted, a packet is decided as before or as after.
 */
function chainEdit(
  old: readonly Handled[],
  wanted: readonly Rule[],
  at: Edited,
): { readonly requests: readonly Request[]; readonly after: readonly (Handled | Requested)[] } {
  const hashes = wanted.map(ruleHash);
  const most = Math.min(old.length, hashes.length);
  let head = 0;
  while (head < most && old[head]?.hash === hashes[head]) head++;
  let tail = 0;
  while (tail < most - head && old.at(-1 - tail)?.hash === hashes.at(-1 - tail)) tail++;
  const before = tail > 0 ? old[old.length - tail]?.handle : undefined;
  const gone = old.slice(head, old.length - tail);
  const fresh = requested(wanted.slice(head, wanted.length - tail), { ...at, before });
  return {
    requests: [
      ...fresh.map(({ request }) => request),
      ...gone.toReversed().map(({ handle }) => message.deleteRule(at, at.chain, handle)),
    ],
    after: [...old.slice(0, head), ...fresh, ...old.slice(old.length - tail)],
  };
}

function elementEdit(
  had: ReadonlySet<string>,
  these: Omit<message.Elements, "elements">,
): readonly Request[] {
  const now = elementsOf(these.item);
  const { gone, fresh } = setDifference(had, now);
  return [
    ...message.deleteElements({ ...these, elements: gone }),
    ...message.addElements({ ...these, elements: fresh }),
  ];
}

/** Removes in an order in which nothing is in use any more: base chains first, then maps, chains, sets. */
export function removals(held: ReadonlyMap<string, Held>, keys: readonly string[], table: string): Request[] {
  const all = keys.flatMap((key) => {
    const item = held.get(key);
    return item ? [{ ...parseKey(key), item }] : [];
  });
  const at = (family: Family) => ({ family, table });
  const chains = all.filter(({ kind }) => kind === "chain");
  const isBase = ({ item }: (typeof all)[number]) => item.kind === "chain" && item.base !== undefined;
  return [
    ...[...chains.filter(isBase), ...chains.filter((one) => !isBase(one))].map(({ family, name }) =>
      message.deleteRule(at(family), name),
    ),
    ...all
      .filter(({ kind }) => kind === "map")
      .map(({ family, name }) => message.deleteSet(at(family), name)),
    ...chains.map(({ family, name }) => message.deleteChain(at(family), name)),
    ...all
      .filter(({ kind }) => kind === "set")
      .map(({ family, name }) => message.deleteSet(at(family), name)),
  ];
}

/** What is held once an item was written, or read. */
export const heldAs = (item: Item, rules?: readonly Handled[]): Held =>
  item.kind === "chain"
    ? { kind: "chain", base: item.base, hashes: hashesOf(item), rules }
    : { kind: "set", set: item, elements: elementsOf(item) };

const hashesOf = ({ hashes, rules }: Chain): readonly string[] => hashes ?? rules.map(ruleHash);
