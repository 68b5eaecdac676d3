import { setTimeout as delay } from "node:timers/promises";
import { type BlockAffinity, decode, type IPAMBlock, kindPrefix, ROOT } from "@margay/api";
import { type Entry, type Store, Syncer, type SyncUpdate } from "@margay/datastore";
import {
  affinityOf,
  type Block,
  type BlockSummary,
  type BlockView,
  freeCount,
  type Versioned,
} from "@margay/ipam";
import { parsePrefix } from "@margay/net";

const BLOCKS = kindPrefix("IPAMBlock");
const AFFINITIES = kindPrefix("BlockAffinity");

/**
 * The views of a thousand nodes fed by one watch, each value decoded once: what a thousand agents would do on a thousand
 * machines must not be what is measured on one.
 */
export class ClusterView {
  readonly #summaries = new Map<string, BlockSummary>();
  readonly #owned = new Map<string, Map<string, Versioned<Block>>>();
  readonly #affinities = new Map<string, Map<string, Versioned<BlockAffinity["spec"]>>>();
  readonly #syncer: Syncer;
  /** Bytes of all values written so far: what goes to etcd's log and to every watcher. */
  bytesWritten = 0;

  constructor(store: Store) {
    this.#syncer = new Syncer({
      ...{ store, prefix: ROOT },
      onBatch: ({ updates }) => this.#apply(updates),
      sleep: (ms, signal) => delay(ms, undefined, { signal }).catch(() => undefined), // aborted: no matter
    });
    void this.#syncer.start();
  }

  stop = (): Promise<void> => this.#syncer.stop();

  /** What one node sees. */
  of(node: string): BlockView {
    const own = within(this.#owned, node);
    const affinities = within(this.#affinities, node);
    return {
      mine: () => own.values(),
      block: (cidr) => own.get(cidr),
      summaries: () => this.#summaries,
      affinities: () => affinities,
      observe: (...entries) => this.#syncer.observe(...entries),
      forget: () => {}, // the watch tells: nothing is deleted in this benchmark but what lost a race
    };
  }

  #apply(updates: readonly SyncUpdate[]): void {
    for (const { key, entry } of updates) {
      if (!entry) this.#forget(key);
      else if (key.startsWith(BLOCKS)) this.#putBlock(entry);
      else if (key.startsWith(AFFINITIES)) this.#putAffinity(entry);
      else this.bytesWritten += entry.value.length; // a pod's endpoint
    }
  }

  #putBlock({ key, value, revision }: Entry): void {
    this.bytesWritten += value.length;
    const { spec } = decode(key, value) as IPAMBlock;
    const { cidr, affinity } = spec;
    const prefix = this.#summaries.get(cidr)?.prefix ?? parsePrefix(cidr);
    const free = freeCount(spec);
    this.#summaries.set(cidr, { cidr, prefix, ...(affinity && { affinity }), free, revision });
    for (const node of new Set([affinity, ...Object.values(spec.allocations).map(userOf)]))
      if (node) within(this.#owned, node.replace(/^host:/, "")).set(cidr, { value: spec, revision });
  }

  #putAffinity({ key, value, revision }: Entry): void {
    this.bytesWritten += value.length;
    const { spec } = decode(key, value) as BlockAffinity;
    within(this.#affinities, spec.node).set(spec.cidr, { value: spec, revision });
  }

  #forget(key: string): void {
    for (const [node, list] of this.#affinities)
      for (const cidr of list.keys())
        if (key === `${AFFINITIES}${node}-${cidr.replace("/", "-")}`) list.delete(cidr);
  }
}

const userOf = ({ attributes }: Block["allocations"][string]): string | undefined =>
  attributes.node && affinityOf(attributes.node);

function within<V>(map: Map<string, Map<string, V>>, node: string): Map<string, V> {
  const found = map.get(node) ?? new Map<string, V>();
  map.set(node, found);
  return found;
}
