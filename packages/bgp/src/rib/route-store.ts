/** The routes of one source by the bytes of their attributes: equal bytes are one route, and little is held of it. */
import type { Address } from "@margay/net";
import { type ImportPolicy, importList, importRoute } from "../policy/import.ts";
import { AttributeList, joinNextHop, nextHopSize, splitNextHop } from "../wire/attribute-list.ts";
import type { AttributeContext } from "../wire/attribute-table.ts";
import type { Attributes, NextHop } from "../wire/attributes.ts";
import { ByteTable } from "../wire/byte-table.ts";
import { u32At } from "../wire/nlri.ts";
import { scan } from "../wire/scan.ts";
import type { Route, Source } from "./path.ts";

/** In the code of a list in the table: the size of its next hop, and this bit for a plain one. */
const plainBit = 128;

export class RouteStore {
  readonly source: Source;
  readonly policy: ImportPolicy;
  readonly table = new ByteTable();
  readonly #routes: (LearnedRoute | undefined)[] = [];
  /** What the session settled; the same for all lists of one source. */
  #context: AttributeContext = { as4: true, internal: false };
  /** IPv4 next hops: one object each. */
  readonly #hops = new Map<number, NextHop>();

  constructor(source: Source, policy: ImportPolicy) {
    this.source = source;
    this.policy = policy;
  }

  /** Distinct attribute lists held. */
  get size(): number {
    return this.table.size;
  }

  /**
   * The route that the source makes of these attributes, judged by import policy: the same object while anybody holds it.
   * The caller does, until `release`.
   */
  routeOf(list: AttributeList): LearnedRoute {
    this.#context = list.context;
    const code = nextHopSize(list.nextHop) | (list.isPlain ? plainBit : 0);
    const record = this.table.add(code, joinNextHop(list.bytes, list.nextHop));
    this.table.retain(record);
    const known = this.#routes[record];
    if (known) return known;
    const route = this.#judge(record, list);
    this.#routes[record] = route;
    return route;
  }

  /** A view of a stored list, good until the next `routeOf`. */
  listOf(record: number): AttributeList {
    const code = this.table.code(record);
    const isPlain = (code & plainBit) !== 0;
    return new AttributeList({
      ...splitNextHop(this.table.bytes(record), code & ~plainBit),
      ...{ context: this.#context, isPlain },
    });
  }

  /** The bytes of a plain list, without its next hop, looked at by `scan`; `route` is who asks. */
  look(record: number, route: object): Uint8Array | undefined {
    const hopSize = this.table.code(record) & ~plainBit;
    const joined = this.table.bytes(record);
    const bytes = hopSize === 0 ? joined : joined.subarray(0, joined.length - hopSize);
    if (scan.of === route) return bytes;
    if (!scan.look(bytes, this.#context, hopSize > 0)) return undefined;
    scan.of = route;
    return bytes;
  }

  free(record: number): void {
    if (this.table.release(record)) this.#routes[record] = undefined;
  }

  #judge(record: number, list: AttributeList): LearnedRoute {
    const { policy, source } = this;
    if (list.isPlain && scan.look(list.bytes, list.context, list.nextHop !== undefined)) {
      const nextHop = list.nextHop ?? this.#hop(u32At(list.bytes, scan.nextHop));
      if (importList(policy, source, { bytes: list.bytes, scan, nextHop })) {
        const route = new LearnedRoute(this, record, { nextHop });
        scan.of = route;
        return route;
      }
    }
    const judged = importRoute(policy, source, list.attributes);
    if ("refused" in judged) return new LearnedRoute(this, record, { refused: judged.refused });
    return new LearnedRoute(this, record, {
      imported: judged.attributes,
      nextHop: judged.attributes.nextHop,
    });
  }

  #hop(bits: number): NextHop {
    const known = this.#hops.get(bits);
    if (known) return known;
    const made: NextHop = { address: { family: 4, bits: BigInt(bits) } satisfies Address };
    if (this.#hops.size >= mostHops) this.#hops.clear();
    this.#hops.set(bits, made);
    return made;
  }
}

/** Next hops remembered for each source: most have one. */
const mostHops = 4096;

interface Judgement {
  readonly refused?: string;
  /** Where import policy changed more than a missing LOCAL_PREF. */
  readonly imported?: Attributes;
  readonly nextHop?: NextHop | undefined;
}

/** A route as its source sent it: bytes in the store, objects only while somebody looks. */
export class LearnedRoute implements Route {
  readonly source: Source;
  readonly refused?: string;
  readonly nextHop: NextHop | undefined;
  readonly #store: RouteStore;
  readonly #record: number;
  readonly #imported: Attributes | undefined;
  /** Who numbered it, and how: nearly all routes are in one RIB. */
  numberedBy: object | undefined;
  number = 0;

  constructor(store: RouteStore, record: number, judged: Judgement, source = store.source) {
    this.source = source;
    this.#store = store;
    this.#record = record;
    this.#imported = judged.imported;
    this.nextHop = judged.nextHop;
    if (judged.refused !== undefined) this.refused = judged.refused;
  }

  /**
   * The bytes, looked at by `scan`, when they say all: import policy added nothing but a missing LOCAL_PREF. Good until the
   * store's next route.
   */
  look(): Uint8Array | undefined {
    if (this.refused !== undefined || this.#imported) return undefined;
    return this.#store.look(this.#record, this);
  }

  /** Its attributes as received; a view, good until the store's next route. */
  get list(): AttributeList {
    return this.#store.listOf(this.#record);
  }

  get received(): Attributes {
    return this.list.attributes;
  }

  get attributes(): Attributes | undefined {
    if (this.refused !== undefined) return undefined;
    if (this.#imported) return this.#imported;
    const judged = importRoute(this.#store.policy, this.source, this.received);
    return "refused" in judged ? undefined : judged.attributes;
  }

  /** The same under another source. */
  withSource(source: Source): LearnedRoute {
    const { refused, nextHop } = this;
    const imported = this.#imported;
    const judged = {
      ...(refused === undefined ? {} : { refused }),
      ...(imported ? { imported } : {}),
      nextHop,
    };
    return new LearnedRoute(this.#store, this.#record, judged, source);
  }

  /** A RIB holds it. */
  retain(): void {
    this.#store.table.retain(this.#record);
  }

  release(): void {
    this.#store.free(this.#record);
  }
}
