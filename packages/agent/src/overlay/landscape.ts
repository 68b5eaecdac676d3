import type { AnyResource, BlockAffinity, FelixConfiguration, IPPool, Kind, Node } from "@margay/api";
import { parseKey } from "@margay/api";
import {
  type OwnedBlock,
  ownedBlocks,
  type Pool,
  programsPlain,
  type ReachableNode,
  readPool,
  readReachable,
  type Terrain,
  type Update,
} from "@margay/calc";

/** What of the cluster decides how other nodes are reached, each resource read once: blocks are many. */
export class Landscape {
  readonly #node: string;
  readonly #blocks = new Map<string, OwnedBlock>();
  readonly #nodes = new Map<string, ReachableNode>();
  readonly #pools = new Map<string, { readonly pool: Pool; readonly resource: IPPool }>();
  readonly #configurations = new Map<string, FelixConfiguration>();
  #self: Node | undefined;

  constructor(node: string) {
    this.#node = node;
  }

  /** Takes in a batch; whether any of it can change a way. */
  apply(updates: readonly Update[]): boolean {
    let changed = false;
    for (const { key, value } of updates) {
      const kind = parseKey(key)?.kind;
      if (kind !== undefined && isRead(kind)) changed = this.#take(key, kind, value) || changed;
    }
    return changed;
  }

  /** This node's own resource. */
  get self(): Node | undefined {
    return this.#self;
  }

  get pools(): readonly IPPool[] {
    return [...this.#pools.values()].map(({ resource }) => resource);
  }

  /** Whether packets to any other node may be the agent's affair: else nothing of this needs to be looked at. */
  get hasWays(): boolean {
    const encapsulated = [...this.#pools.values()].some(({ pool }) => pool.vxlanMode !== "Never");
    return encapsulated || programsPlain([...this.#configurations.values()], this.#node);
  }

  /** With the addresses that pods have of other nodes' blocks. */
  terrain(borrowed: readonly OwnedBlock[]): Terrain {
    return {
      node: this.#node,
      blocks: [...this.#blocks.values(), ...borrowed],
      nodes: [...this.#nodes.values()],
      pools: [...this.#pools.values()].map(({ pool }) => pool),
      programsPlain: programsPlain([...this.#configurations.values()], this.#node),
    };
  }

  #take(key: string, kind: Read, value: AnyResource | undefined): boolean {
    if (kind === "Node" && parseKey(key)?.name === this.#node) this.#self = value as Node | undefined; // as its key says
    if (value === undefined) return this.#tables[kind].delete(key);
    READ[kind](this.#tables[kind] as Map<string, unknown>, key, value); // the table of this kind
    return true;
  }

  get #tables() {
    return {
      BlockAffinity: this.#blocks,
      Node: this.#nodes,
      IPPool: this.#pools,
      FelixConfiguration: this.#configurations,
    } as const satisfies Record<Read, Map<string, unknown>>;
  }
}

const READ = {
  BlockAffinity: (table, key, value) => {
    const [owned] = ownedBlocks([value as BlockAffinity]);
    if (owned) table.set(key, owned);
    else table.delete(key);
  },
  Node: (table, key, value) => table.set(key, readReachable(value as Node)),
  IPPool: (table, key, value) =>
    table.set(key, { pool: readPool(value as IPPool), resource: value as IPPool }),
  FelixConfiguration: (table, key, value) => table.set(key, value),
} as const satisfies Partial<
  Record<Kind, (table: Map<string, unknown>, key: string, value: AnyResource) => void>
>;

type Read = keyof typeof READ;
const isRead = (kind: Kind): kind is Read => kind in READ;
