import { isDeepStrictEqual } from "node:util";
import {
  type AnyResource,
  ApiError,
  decode,
  encode,
  type Kind,
  keyOf,
  kindPrefix,
  type Resource,
  type ResourceOf,
} from "@margay/api";
import { type Entry, notFound, type Revision, type Store, StoreError, type StoreErrorCode } from "./store.ts";

/** How often a compare-and-swap is tried before "conflict" gets out. */
const MAX_TRIES = 20;

export interface Applied<R> {
  readonly outcome: "created" | "configured" | "unchanged";
  readonly resource: R;
}

/**
 * The resources of one kind. What is returned bears its revision as `metadata.resourceVersion`. Besides
 * `StoreError`, reading throws ApiError "corrupt" for a value that is no resource.
 */
export interface Collection<R> {
  get(name: string, namespace?: string): Promise<R | undefined>;
  /** All, or those of a namespace, by key. With `onCorrupt`, corrupt values are told there and left out. */
  list(namespace?: string, onCorrupt?: (error: ApiError) => void): Promise<R[]>;
  /** Throws "exists". */
  create(resource: R): Promise<R>;
  /** Writes if nobody else did since `metadata.resourceVersion`. Throws "conflict" or "not-found". */
  update(resource: R): Promise<R>;
  /**
   * Makes it so, whether it exists or not; a resourceVersion is a condition, as for `update`. The status and
   * creation time in the store stay when the given resource has none, and an equal resource is not written.
   */
  apply(resource: R): Promise<Applied<R>>;
  /**
   * Pure step, then compare-and-swap, a bounded number of times. `undefined` from the step changes nothing.
   * Throws "not-found".
   */
  modify(name: string, namespace: string | undefined, step: (now: R) => R | undefined): Promise<R>;
  /** False when there was none. Throws "conflict" when it was written since `resourceVersion`. */
  delete(name: string, namespace?: string, resourceVersion?: string): Promise<boolean>;
}

/** The typed view of a store. */
export function resources<K extends Kind>(store: Store, kind: K): Collection<ResourceOf<K>> {
  type R = ResourceOf<K>;
  const keyFor = ({ metadata }: R) => keyOf(kind, metadata.name, metadata.namespace);
  const read = (entry: Entry) => resourceOf(entry) as unknown as R; // decode goes by the key, and the key is this kind's

  const collection: Collection<R> = {
    async get(name, namespace) {
      const entry = await store.get(keyOf(kind, name, namespace));
      return entry && read(entry);
    },
    async list(namespace, onCorrupt) {
      const { entries } = await store.list(
        kindPrefix(kind) + (namespace === undefined ? "" : `${namespace}/`),
      );
      return entries
        .map((entry) => unlessCorrupt(onCorrupt, () => read(entry)))
        .filter((found) => found !== undefined);
    },
    async create(resource) {
      return versioned(resource, (await store.create(keyFor(resource), encode(resource))).revision);
    },
    async update(resource) {
      const written = await store.update(keyFor(resource), encode(resource), revisionIn(resource));
      return versioned(resource, written.revision);
    },
    async apply(resource) {
      if (resource.metadata.resourceVersion !== undefined)
        return { outcome: "configured", resource: await collection.update(resource) };
      return retrying(() => applyOnce(resource), ["exists", "conflict", "not-found"]);
    },
    modify: (name, namespace, step) => retrying(() => modifyOnce({ name, namespace }, step), ["conflict"]),
    delete: (name, namespace, resourceVersion) =>
      store.delete(
        keyOf(kind, name, namespace),
        resourceVersion === undefined ? undefined : Number(resourceVersion),
      ),
  };
  return collection;

  async function applyOnce(resource: R): Promise<Applied<R>> {
    const entry = await store.get(keyFor(resource));
    if (entry === undefined) return { outcome: "created", resource: await collection.create(resource) };
    // a corrupt value is as good as none: applying is how it gets mended
    const now = unlessCorrupt(
      () => {},
      () => read(entry),
    );
    const wanted = versioned(now === undefined ? resource : inherit(resource, now), entry.revision);
    if (now !== undefined && isDeepStrictEqual(read({ ...entry, value: encode(wanted) }), now))
      return { outcome: "unchanged", resource: now };
    return { outcome: "configured", resource: await collection.update(wanted) };
  }

  async function modifyOnce(
    id: { name: string; namespace: string | undefined },
    step: (now: R) => R | undefined,
  ): Promise<R> {
    const now = await collection.get(id.name, id.namespace);
    if (now === undefined) throw notFound(keyOf(kind, id.name, id.namespace));
    const wanted = step(now);
    return wanted === undefined ? now : collection.update(versioned(wanted, revisionIn(now)));
  }
}

/** A constructor that gives back what it is given: fields of what extends it are added to that. */
const Given = class {
  constructor(entry: Entry) {
    // biome-ignore lint/correctness/noConstructorReturn: that is what it is for
    return entry;
  }
} as new (
  entry: Entry,
) => object;

/**
 * What an entry says, in a field that nobody else sees. Not a WeakMap: V8 takes all that is in one for alive whenever it clears
 * away what is young, so that each value of a first list was copied twice and lay among the old until they were cleared away.
 */
class Decoded extends Given {
  #resource: AnyResource;

  constructor(entry: Entry, resource: AnyResource) {
    super(entry);
    this.#resource = resource;
  }

  static of(entry: Entry): AnyResource | undefined {
    return #resource in entry ? entry.#resource : undefined;
  }

  static set(entry: Entry, resource: AnyResource): void {
    if (#resource in entry) entry.#resource = resource;
    else new Decoded(entry, resource);
  }
}

/**
 * The resource of a store entry, with its revision. Throws ApiError "corrupt". An entry is decoded once, however many
 * look at it: a full block takes a millisecond.
 */
export function resourceOf(entry: Entry): AnyResource {
  const known = Decoded.of(entry);
  if (known) return known;
  const resource = decode(entry.key, entry.value);
  Object.assign(resource.metadata, { resourceVersion: String(entry.revision) }); // it was just made, and nobody else has it
  Decoded.set(entry, resource);
  return resource;
}

/** Spares the decoding of what was just written: `resource` must be whole, its defaults filled in. */
export function alreadyDecoded(entry: Entry, resource: AnyResource): Entry {
  Decoded.set(entry, versioned(resource, entry.revision));
  return entry;
}

const versioned = <R extends Resource>(resource: R, revision: Revision): R => ({
  ...resource,
  metadata: { ...resource.metadata, resourceVersion: String(revision) },
});

/** Without a resourceVersion: zero, which no key has, so that the store answers "conflict". */
const revisionIn = ({ metadata }: Resource): Revision => Number(metadata.resourceVersion ?? 0);

/** What whoever applies a resource does not say stays as it is. */
function inherit<R extends Resource>(resource: R, { metadata, status }: R): R {
  const { creationTimestamp, uid } = metadata;
  const kept = { ...(creationTimestamp && { creationTimestamp }), ...(uid && { uid }) };
  const merged = { ...resource, metadata: { ...kept, ...resource.metadata } };
  return status === undefined || resource.status !== undefined ? merged : { ...merged, status };
}

function unlessCorrupt<T>(onCorrupt: ((error: ApiError) => void) | undefined, read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (onCorrupt === undefined || !(error instanceof ApiError)) throw error;
    onCorrupt(error);
    return undefined;
  }
}

/** Again, as long as somebody else was faster. */
async function retrying<T>(attempt: () => Promise<T>, codes: readonly StoreErrorCode[]): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof StoreError) || !codes.includes(error.code) || tries === MAX_TRIES) throw error;
    }
  }
}
