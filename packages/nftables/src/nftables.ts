import type { Family } from "@margay/net";
import { NETLINK_NETFILTER, NetlinkError, type Request, RequestSocket } from "@margay/netlink";
import { sameMembers, type Target } from "@margay/reconcile";
import {
  type Edits,
  edits,
  type Handled,
  type Held,
  handled,
  heldAs,
  removals,
  unreadChains,
} from "./edit.ts";
import { elementsOf } from "./element.ts";
import { type Chain, type Item, itemKey, type NftMap, type NftSet, parseKey } from "./item.ts";
import { deleteTable, newTable, type Place, transaction, types } from "./message.ts";
import {
  type Counter,
  type FoundTable,
  handleIn,
  listChains,
  readRules,
  readTable,
  sameKind,
} from "./read.ts";
import { ruleHash } from "./statement.ts";

/** Which tables of which kernel an `Nftables` owns. */
export interface NftablesOptions {
  /** Of our table, one in each family. All that is in it is ours. */
  readonly table: string;
  /** Path of a network namespace; this thread's own when absent. */
  readonly namespace?: string;
}

const FAMILIES: readonly Family[] = [4, 6];
/** Above this many chains to change, all rules are read in one go for their handles. */
const ONE_BY_ONE = 16;
/** Of up to so many new rules the kernel is asked for the handles at once: its answers must fit the socket. */
const ECHOED_AT_MOST = 128;
/** A transaction that the socket's buffer cannot take is sent in parts of so many messages. */
const PART = 150;

/** Our tables as one reconcile target: a put is one transaction, whatever it holds. */
export class Nftables {
  readonly #socket: RequestSocket;
  readonly #table: string;
  readonly #mark: string;
  #held = new Map<string, Held>();
  #tables = new Set<Family>();
  /** Of new rules, as the kernel answered while a put is under way. */
  readonly #handles = new Map<Request, number>();

  /** NetlinkError EPERM without CAP_NET_ADMIN. */
  constructor({ table, namespace }: NftablesOptions) {
    this.#table = table;
    this.#mark = `${table}:`;
    this.#socket = new RequestSocket(NETLINK_NETFILTER, namespace);
  }

  /** What notifications name as the cause of our own writes; 0 before the first. */
  get port(): number {
    return this.#socket.port;
  }

  close(): void {
    this.#socket.close();
  }

  /** Keys as `itemKey` makes them. Throws NetlinkError; what is refused is refused as a whole. */
  target(): Target<Item> {
    return {
      name: "nftables",
      list: () => this.#list(),
      put: (wanted) => this.#put(wanted),
      remove: (keys) => this.#remove(keys),
      same,
    };
  }

  /** Removes our tables with all that is in them. */
  async clear(): Promise<void> {
    await this.#list();
    await this.#removeAtOnce(this.#bases([...this.#held.keys()]));
    const there = FAMILIES.filter((family) => this.#tables.has(family));
    if (there.length > 0) await this.#send(there.map((family) => deleteTable(this.#place(family))));
    this.#held.clear();
    this.#tables.clear();
  }

  /** Packets and bytes by rule id, summed over the rules that bear it. */
  async counters(): Promise<Map<string, Counter>> {
    const sums = new Map<string, Counter>();
    for (const family of this.#tables)
      for (const rules of (
        await readRules(this.#socket, { ...this.#place(family), mark: this.#mark })
      ).values())
        for (const { id, counter } of rules) {
          if (id === undefined || !counter) continue;
          const { packets, bytes } = sums.get(id) ?? { packets: 0, bytes: 0 };
          sums.set(id, { packets: packets + counter.packets, bytes: bytes + counter.bytes });
        }
    return sums;
  }

  /** The chains of every table, whosever they are: enough to see who else is here. */
  chains(family: Family): Promise<readonly { readonly table: string; readonly name: string }[]> {
    return listChains(this.#socket, family);
  }

  async #list(): Promise<Map<string, Item>> {
    this.#held = new Map();
    this.#tables = new Set();
    const items = new Map<string, Item>();
    for (const family of FAMILIES) {
      const found = await readTable(this.#socket, this.#place(family), this.#mark);
      if (!found) continue;
      this.#tables.add(family);
      for (const [key, item] of itemsOf(found, family)) {
        items.set(key, item);
        const rules = item.kind === "chain" ? found.rules.get(parseKey(key).name) : undefined;
        this.#held.set(key, heldAs(item, rules?.map(({ handle, hash }) => ({ handle, hash })) ?? []));
      }
    }
    return items;
  }

  async #put(wanted: ReadonlyMap<string, Item>): Promise<void> {
    const rules = await this.#rulesToEdit(wanted);
    const isEchoed = rulesIn(wanted) <= ECHOED_AT_MOST;
    const before = { table: this.#table, mark: this.#mark, held: this.#held, rules, isEchoed };
    const { prepare, commit, rules: after } = edits(before, wanted);
    const missing = FAMILIES.filter((family) => !this.#tables.has(family));
    const tables = missing.map((family) => newTable(this.#place(family)));
    this.#handles.clear();
    if (hasChains(prepare) && commit.length > 0) {
      await this.#write([...tables, ...prepare], []);
      await this.#write([], commit);
    } else await this.#write([...tables, ...prepare], commit);
    for (const family of missing) this.#tables.add(family);
    for (const [key, item] of wanted)
      this.#held.set(key, heldAs(item, handled(after.get(key), this.#handles)));
    this.#handles.clear();
  }

  /**
   * All in one transaction, but for new chains, which come before what leads to them: a packet that is under way when a transaction
   * is committed finds new elements of maps already, and new chains still empty (nft_do_chain reads the generation once, lookups read it again; a new
   * chain's rules are of one generation until the next commit). It would go on behind the map, decided by nobody. If that is too long for the socket, what no packet can reach yet comes before it, in parts; and if
   * that is not enough, in transactions of whole chains, sets and maps.
   */
  async #write(prepare: readonly Request[], commit: Edits["commit"]): Promise<void> {
    try {
      await this.#send([...prepare, ...commit.flat()]);
    } catch (error) {
      if (!isTooLong(error)) throw error;
      await this.#sendInParts(prepare);
      await this.#sendCommit(commit);
    }
  }

  async #sendCommit(commit: Edits["commit"]): Promise<void> {
    try {
      await this.#send(commit.flat());
    } catch (error) {
      if (!isTooLong(error)) throw error;
      for (const some of packed(commit)) await this.#sendInParts(some);
    }
  }

  async #sendInParts(requests: readonly Request[]): Promise<void> {
    for (let at = 0; at < requests.length; at += PART) await this.#send(requests.slice(at, at + PART));
  }

  async #send(requests: readonly Request[]): Promise<void> {
    if (requests.length === 0) return;
    await this.#socket.transaction(transaction(requests), (answer, to) => {
      if (answer.type === types.newRule) this.#handles.set(to, handleIn(answer));
    });
  }

  async #rulesToEdit(wanted: ReadonlyMap<string, Item>): Promise<ReadonlyMap<string, readonly Handled[]>> {
    const keys = unreadChains(this.#held, wanted);
    const found = new Map<string, readonly Handled[]>();
    if (keys.length > ONE_BY_ONE)
      for (const family of this.#tables)
        await this.#readInto(found, { ...this.#place(family), mark: this.#mark });
    else
      for (const key of keys) {
        const { family, name } = parseKey(key);
        await this.#readInto(found, { ...this.#place(family), mark: this.#mark, chain: name });
      }
    return found;
  }

  async #readInto(
    found: Map<string, readonly Handled[]>,
    where: Parameters<typeof readRules>[1],
  ): Promise<void> {
    for (const [chain, rules] of await readRules(this.#socket, where))
      found.set(itemKey(where.family, "chain", chain), rules);
  }

  /**
   * Base chains go before what they lead to, in a transaction of their own: to packets that are under way when a
   * transaction is committed, elements of sets are gone before the rules that ask for them (seen on Linux 6.18: some
   * packets in 0.3 ms miss a verdict map and meet the drop behind it).
   */
  async #remove(keys: readonly string[]): Promise<void> {
    const bases = this.#bases(keys);
    await this.#removeAtOnce(bases);
    await this.#removeAtOnce(keys.filter((key) => !bases.includes(key)));
  }

  #bases(keys: readonly string[]): readonly string[] {
    return keys.filter((key) => {
      const held = this.#held.get(key);
      return held?.kind === "chain" && held.base !== undefined;
    });
  }

  async #removeAtOnce(keys: readonly string[]): Promise<void> {
    try {
      await this.#send(removals(this.#held, keys, this.#table));
    } catch (error) {
      if (!(error instanceof NetlinkError) || error.code !== "ENOENT") throw error;
      await this.#list(); // some of them are gone already
      await this.#send(removals(this.#held, keys, this.#table));
    }
    for (const key of keys) this.#held.delete(key);
  }

  #place(family: Family): Place {
    return { family, table: this.#table };
  }
}

const hasChains = (requests: readonly Request[]): boolean =>
  requests.some(({ type }) => type === types.newChain);

const rulesIn = (wanted: ReadonlyMap<string, Item>): number =>
  [...wanted.values()].reduce((sum, item) => sum + (item.kind === "chain" ? item.rules.length : 0), 0);

/** Whole groups together, as many as a part holds. */
function packed(groups: Edits["commit"]): Request[][] {
  const found: Request[][] = [];
  for (const group of groups) {
    const last = found.at(-1);
    if (last && last.length + group.length <= PART) last.push(...group);
    else found.push([...group]);
  }
  return found;
}

const isTooLong = (error: unknown): boolean => error instanceof NetlinkError && error.code === "EMSGSIZE";

function* itemsOf({ chains, sets, rules }: FoundTable, family: Family): Generator<[string, Item]> {
  for (const [name, base] of chains) {
    const hashes = (rules.get(name) ?? []).map(({ hash }) => hash ?? "not ours");
    yield [itemKey(family, "chain", name), { kind: "chain", base, rules: [], hashes }];
  }
  for (const [name, set] of sets) yield [itemKey(family, set.kind, name), set];
}

/** Whether what was read (or written before) needs no put. */
function same(actual: Item, wanted: Item): boolean {
  if (actual.kind === "chain") return wanted.kind === "chain" && sameChain(actual, wanted);
  return wanted.kind !== "chain" && sameKind(actual, wanted) && sameElements(actual, wanted);
}

function sameChain(actual: Chain, wanted: Chain): boolean {
  const { type, hook, priority } = actual.base ?? {};
  if (type !== wanted.base?.type || hook !== wanted.base?.hook || priority !== wanted.base?.priority)
    return false;
  if (actual.rules === wanted.rules && !actual.hashes) return true;
  const [a, b] = [actual, wanted].map(({ hashes, rules }) => hashes ?? rules.map(ruleHash));
  return a?.join() === b?.join();
}

const sameElements = (actual: NftSet | NftMap, wanted: NftSet | NftMap): boolean =>
  sameMembers(elementsOf(actual), elementsOf(wanted));
