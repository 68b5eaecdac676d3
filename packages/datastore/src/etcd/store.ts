import { randomInt } from "node:crypto";
import type { Etcd3, ICompare, IKeyValue, IRequestOp, IResponseHeader, ITxnResponse } from "etcd3";
import {
  alreadyExists,
  type Change,
  conflicting,
  type Entry,
  type Listing,
  notFound,
  otherHistory,
  refusalOf,
  type Store,
} from "../store.ts";
import { EtcdClient, type EtcdOptions } from "./client.ts";
import { keyAfter, prefixEnd } from "./key-range.ts";
import { type Page, range } from "./range.ts";
import { etcdWatch } from "./watch.ts";

/**
 * A listing is read in pages of so many bytes, judged by the page before, so that no single answer stalls etcd or us: the first page of a
 * larger kind may yet be `MAX_PAGE_KEYS` of its keys. Few pages, since etcd counts all keys of the prefix for each.
 */
const PAGE_BYTES = 4 << 20;
const FIRST_PAGE_KEYS = 1000;
const MAX_PAGE_KEYS = 2000;

/** The largest range of `randomInt`, below the 53 bits of a double. */
const MAX_LEASE = 2 ** 48 - 1;

/**
 * The datastore of a cluster: etcd 3.4 or newer. Connects on first use; throws only if an endpoint's text is
 * wrong. A compare-and-swap is one transaction, a time to live is a lease of its own (etcd rounds it up to
 * about two seconds).
 */
export function etcdStore(options: EtcdOptions): Store {
  const client = new EtcdClient(options);

  /** A transaction that says in its failure branch whether the key exists. */
  async function swap(
    key: string,
    { compare, op }: { compare: ICompare[]; op: IRequestOp },
  ): Promise<ITxnResponse> {
    const look = { request_range: { key: Buffer.from(key), keys_only: true } };
    const request = { compare, success: [op], failure: [look] };
    return client.call({ key, idempotent: false }, (etcd) => etcd.kv.txn(request));
  }

  async function write(key: string, { value, ttlSeconds, compare }: Write): Promise<ITxnResponse> {
    const lease = ttlSeconds === undefined ? undefined : await grant(key, ttlSeconds);
    const put = {
      key: Buffer.from(key),
      value: Buffer.from(value),
      ...(lease === undefined ? {} : { lease }),
    };
    return swap(key, { compare, op: { request_put: put } });
  }

  /**
   * A lease granted in vain expires by itself. We choose its number: etcd's own need 64 bits, which
   * protobufjs garbles wherever it cannot `require("long")` (bundles, jest).
   */
  async function grant(key: string, ttlSeconds: number): Promise<string> {
    const grantOne = (etcd: Etcd3) =>
      etcd.leaseClient.leaseGrant({ ID: randomInt(1, MAX_LEASE), TTL: Math.ceil(ttlSeconds) });
    return (await client.call({ key, idempotent: true }, grantOne)).ID;
  }

  return {
    async get(key) {
      const { kvs } = await client.call({ key, idempotent: true }, (etcd) =>
        etcd.kv.range({ key: Buffer.from(key) }),
      );
      return kvs[0] && toEntry(kvs[0]);
    },
    list: (prefix, onPart) => list(client, prefix, onPart),
    watch: (...of) => etcdWatch(client, ...of),
    async create(key, value, { ttlSeconds } = {}) {
      const answer = await write(key, { value, ttlSeconds, compare: [absent(key)] });
      if (!answer.succeeded) throw alreadyExists(key);
      return written(key, value, answer);
    },
    async update(key, value, ifRevision) {
      const answer = await write(key, { value, compare: [unchanged(key, ifRevision)] });
      if (!answer.succeeded) throw exists(answer) ? conflicting(key, ifRevision) : notFound(key);
      return written(key, value, answer);
    },
    async put(key, value, { ttlSeconds } = {}) {
      return written(key, value, await write(key, { value, ttlSeconds, compare: [] }));
    },
    async delete(key, ifRevision) {
      const compare = ifRevision === undefined ? [] : [unchanged(key, ifRevision)];
      const answer = await swap(key, { compare, op: { request_delete_range: { key: Buffer.from(key) } } });
      if (answer.succeeded) return Number(answer.responses[0]?.response_delete_range.deleted) > 0;
      if (ifRevision !== undefined && exists(answer)) throw conflicting(key, ifRevision);
      return false;
    },
    commit: (changes) => (changes.length === 0 ? Promise.resolve([]) : commit(client, changes)),
    close: async () => client.close(),
  };
}

interface Write {
  readonly value: string;
  readonly compare: ICompare[];
  readonly ttlSeconds?: number | undefined;
}

/** One transaction, whose failure branch says what each key is at. */
async function commit(client: EtcdClient, changes: readonly Change[]): Promise<Entry[]> {
  const [{ key: first }] = changes as [Change]; // not empty
  const look = ({ key }: Change) => ({ request_range: { key: Buffer.from(key), keys_only: true } });
  const request = {
    compare: changes.flatMap(conditionOf),
    success: changes.map(operationOf),
    failure: changes.map(look),
  };
  const answer = await client.call({ key: first, idempotent: false }, (etcd) => etcd.kv.txn(request));
  if (answer.succeeded)
    return changes.flatMap((change) =>
      change.type === "delete" ? [] : [written(change.key, change.value, answer)],
    );
  const refused = changes.flatMap((change, i) => {
    const found = answer.responses[i]?.response_range.kvs[0];
    return refusalOf(change, found && Number(found.mod_revision)) ?? [];
  });
  throw refused[0] ?? new Error(`etcd refused to write ${first} and says that nothing stood against it`);
}

function conditionOf(change: Change): ICompare[] {
  if (change.type === "create") return [absent(change.key)];
  return change.ifRevision === undefined ? [] : [unchanged(change.key, change.ifRevision)];
}

function operationOf(change: Change): IRequestOp {
  const key = Buffer.from(change.key);
  if (change.type === "delete") return { request_delete_range: { key } };
  return { request_put: { key, value: Buffer.from(change.value) } };
}

/** Page after page at the revision of the first one. */
async function list(client: EtcdClient, prefix: string, onPart?: (part: Listing) => void): Promise<Listing> {
  const end = prefixEnd(Buffer.from(prefix));
  let entries: Entry[] = [];
  let from: Buffer = Buffer.from(prefix);
  let first: IResponseHeader | undefined;
  for (let limit = FIRST_PAGE_KEYS; ; ) {
    const request = { key: from, range_end: end, limit, ...(first && { revision: first.revision }) };
    const page = await client.call({ key: prefix, idempotent: true }, (etcd) => range(etcd, request));
    first ??= page.header;
    if (page.header.cluster_id !== first.cluster_id) throw otherHistory();
    for (const entry of page.entries) entries.push(entry);
    const part = { entries, revision: Number(first.revision), history: first.cluster_id };
    if (!page.more || page.entries.length === 0) return part;
    if (onPart) {
      onPart(part);
      entries = [];
    }
    from = keyAfter(page.lastKey);
    limit = keysPerPage(page);
  }
}

const keysPerPage = ({ entries, size }: Page): number =>
  Math.min(MAX_PAGE_KEYS, Math.ceil((PAGE_BYTES * entries.length) / size)); // a key is not empty

const absent = (key: string): ICompare => ({
  key: Buffer.from(key),
  target: "Version",
  result: "Equal",
  version: 0,
});

const unchanged = (key: string, revision: number): ICompare => ({
  key: Buffer.from(key),
  target: "Mod",
  result: "Equal",
  mod_revision: String(revision),
});

/** What the failure branch of `swap` saw. */
const exists = (answer: ITxnResponse): boolean => Number(answer.responses[0]?.response_range.count) > 0;

const written = (key: string, value: string, answer: ITxnResponse): Entry => ({
  key,
  value,
  revision: Number(answer.header.revision),
});

const toEntry = (kv: IKeyValue): Entry => ({
  key: kv.key.toString(),
  value: kv.value.toString(),
  revision: Number(kv.mod_revision),
});
