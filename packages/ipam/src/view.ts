import { type BlockAffinity, type IPAMBlock, keyOf, kindPrefix } from "@margay/api";
import { type Entry, resourceOf, type SyncUpdate } from "@margay/datastore";
import { type Address, NetError, offset, type Prefix, parsePrefix } from "@margay/net";
import { affinityOf, type Block, freeCount } from "./block.ts";

/** A value and the revision it was read at, which the write back must present. */
export interface Versioned<T> {
  readonly value: T;
  readonly revision: number;
}

/** What this node needs to know of a block: enough to choose one, too little to write one. */
export interface BlockSummary {
  readonly cidr: string;
  /** The same, parsed. */
  readonly prefix: Prefix;
  readonly affinity?: string;
  /** Addresses nobody has; some may be reserved or cool down. */
  readonly free: number;
  readonly revision: number;
}

/** An address that a node uses of a block which is another's, or nobody's. */
export interface Borrowed {
  readonly address: Address;
  readonly node: string;
}

/** The datastore's blocks and affinities as last seen. It may lag: every write is a compare-and-swap. */
export interface BlockView {
  /** Blocks that are this node's or hold an address of it, whole. */
  mine(): Iterable<Versioned<Block>>;
  /** One of `mine`. */
  block(cidr: string): Versioned<Block> | undefined;
  /** Every block of the cluster, by CIDR. */
  summaries(): ReadonlyMap<string, BlockSummary>;
  /** This node's affinities, by CIDR. */
  affinities(): ReadonlyMap<string, Versioned<BlockAffinity["spec"]>>;
  /** What was just read or written, newer than the watch may be; keys of other kinds are passed on only. */
  observe(...entries: readonly Entry[]): void;
  /** A key just found missing, or deleted. */
  forget(key: string): void;
}

/** `10.0.0.0/26` as part of a key. */
const dashed = (cidr: string): string => cidr.replace("/", "-");

export const blockKey = (cidr: string): string => keyOf("IPAMBlock", dashed(cidr));

export const blockResource = (block: Block): IPAMBlock => ({
  apiVersion: "margay.dev/v1",
  kind: "IPAMBlock",
  metadata: { name: dashed(block.cidr) },
  spec: block,
});

/** The name of `node`'s affinity for a block. */
export const affinityName = (node: string, cidr: string): string => `${node}-${dashed(cidr)}`;

export const affinityKey = (node: string, cidr: string): string =>
  keyOf("BlockAffinity", affinityName(node, cidr));

export const BLOCKS = kindPrefix("IPAMBlock");
export const AFFINITIES = kindPrefix("BlockAffinity");

const isOurs = (key: string): boolean => key.startsWith(BLOCKS) || key.startsWith(AFFINITIES);

/** Blocks that wait to be looked at before they are read all the same, to be let go of. */
const MAX_UNREAD = 32;

/**
 * A view fed by the node's one watch (`apply`), or by lists. It keeps whole only what this node may write,
 * so that 25,000 blocks of a large cluster cost a summary each. A block is decoded when somebody asks: one that
 * another node writes a hundred times meanwhile is decoded once.
 */
export class BlockCache implements BlockView {
  readonly #node: string;
  readonly #observed: ((...entries: readonly Entry[]) => void) | undefined;
  readonly #mine = new Map<string, Versioned<Block>>();
  readonly #summaries = new Map<string, BlockSummary>();
  readonly #affinities = new Map<string, Versioned<BlockAffinity["spec"]>>();
  readonly #corrupt = new Map<string, unknown>();
  readonly #unread = new Map<string, Entry>();
  /** By block; almost always none. */
  readonly #lent = new Map<string, readonly Borrowed[]>();
  #allLent: readonly Borrowed[] | undefined;

  /**
   * `observe` passes this process's own writes on to the Syncer, which then drops older events of the key.
   */
  constructor(options: { node: string; observe?: (...entries: readonly Entry[]) => void }) {
    this.#node = options.node;
    this.#observed = options.observe;
  }

  /** Takes a batch of the watch; keys of other kinds are skipped. */
  apply(updates: readonly SyncUpdate[]): void {
    for (const { key, entry } of updates) {
      if (!isOurs(key)) continue;
      if (entry) this.#put(entry);
      else this.forget(key);
    }
  }

  observe(...entries: readonly Entry[]): void {
    for (const entry of entries) if (isOurs(entry.key)) this.#put(entry);
    this.#observed?.(...entries);
  }

  forget(key: string): void {
    this.#unread.delete(key);
    this.#corrupt.delete(key);
    const cidr = cidrOfKey(key, this.#node);
    if (key.startsWith(AFFINITIES)) this.#affinities.delete(cidr);
    else {
      this.#mine.delete(cidr);
      this.#summaries.delete(cidr);
      this.#setLent(cidr, []);
    }
  }

  /** Keys whose value does not decode, and why: shown by `ipam check`, never allocated from. */
  get corrupt(): ReadonlyMap<string, unknown> {
    this.#read();
    return this.#corrupt;
  }

  mine = (): Iterable<Versioned<Block>> => {
    this.#read();
    return this.#mine.values();
  };

  block = (cidr: string): Versioned<Block> | undefined => {
    this.#read();
    return this.#mine.get(cidr);
  };

  summaries = (): ReadonlyMap<string, BlockSummary> => {
    this.#read();
    return this.#summaries;
  };

  affinities = (): ReadonlyMap<string, Versioned<BlockAffinity["spec"]>> => {
    this.#read();
    return this.#affinities;
  };

  /** Every borrowed address of the cluster; the same array until one changes. */
  borrowed = (): readonly Borrowed[] => {
    this.#read();
    this.#allLent ??= [...this.#lent.values()].flat();
    return this.#allLent;
  };

  #setLent(cidr: string, lent: readonly Borrowed[]): void {
    if (lent.length === 0 && !this.#lent.has(cidr)) return;
    this.#lent.set(cidr, lent);
    if (lent.length === 0) this.#lent.delete(cidr);
    this.#allLent = undefined;
  }

  #put(entry: Entry): void {
    if (entry.revision < (this.#unread.get(entry.key)?.revision ?? 0)) return;
    this.#unread.set(entry.key, entry);
    if (this.#unread.size > MAX_UNREAD) this.#read();
  }

  #read(): void {
    for (const entry of this.#unread.values()) this.#take(entry);
    this.#unread.clear();
  }

  #take(entry: Entry): void {
    try {
      const resource = resourceOf(entry);
      this.#corrupt.delete(entry.key);
      if (resource.kind === "IPAMBlock") this.#putBlock((resource as IPAMBlock).spec, entry.revision);
      if (resource.kind === "BlockAffinity")
        this.#putAffinity((resource as BlockAffinity).spec, entry.revision);
    } catch (error) {
      this.#corrupt.set(entry.key, error);
      const cidr = cidrOfKey(entry.key, this.#node);
      if (entry.key.startsWith(AFFINITIES)) return;
      this.#mine.delete(cidr);
      const prefix = prefixIn(cidr);
      if (prefix) this.#summaries.set(cidr, { cidr, prefix, free: 0, revision: entry.revision });
    }
  }

  #putBlock(block: Block, revision: number): void {
    const { cidr, affinity } = block;
    const before = this.#summaries.get(cidr);
    if (revision < (before?.revision ?? 0)) return;
    const prefix = before?.prefix ?? parsePrefix(cidr);
    const free = freeCount(block);
    this.#summaries.set(cidr, { cidr, prefix, ...(affinity && { affinity }), free, revision });
    this.#setLent(cidr, lentOf(block, prefix));
    if (concerns(block, this.#node)) this.#mine.set(cidr, { value: block, revision });
    else this.#mine.delete(cidr);
  }

  #putAffinity(spec: BlockAffinity["spec"], revision: number): void {
    if (spec.node !== this.#node || revision < (this.#affinities.get(spec.cidr)?.revision ?? 0)) return;
    this.#affinities.set(spec.cidr, { value: spec, revision });
  }
}

const concerns = (block: Block, node: string): boolean =>
  block.affinity === affinityOf(node) ||
  Object.values(block.allocations).some((allocation) => allocation.attributes.node === node);

/** A block that changed but lends the same again is told as a change: rare, and harmless. */
function lentOf({ affinity, allocations }: Block, prefix: Prefix): Borrowed[] {
  const lent: Borrowed[] = [];
  for (const [ordinal, { attributes }] of Object.entries(allocations))
    if (attributes.node !== undefined && affinity !== affinityOf(attributes.node))
      lent.push({ address: offset(prefix, Number(ordinal)), node: attributes.node });
  return lent;
}

/** The CIDR of a corrupt block's key, if at least that can be read. */
function prefixIn(cidr: string): Prefix | undefined {
  try {
    return parsePrefix(cidr);
  } catch (error) {
    if (error instanceof NetError) return undefined;
    throw error;
  }
}

/**
 * The CIDR that a block's key, or this node's affinity's key, names; another node's affinity gives some text
 * no map holds.
 */
function cidrOfKey(key: string, node: string): string {
  const name = key.startsWith(AFFINITIES) ? key.slice(AFFINITIES.length) : key.slice(BLOCKS.length);
  const dash = key.startsWith(AFFINITIES) && name.startsWith(`${node}-`) ? name.slice(node.length + 1) : name;
  return dash.replace(/-(\d+)$/, "/$1");
}
