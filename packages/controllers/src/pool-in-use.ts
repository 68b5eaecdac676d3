import { decode, encode, type IPPool } from "@margay/api";
import { type Entry, resourceOf, resources, type Store } from "@margay/datastore";
import { contains, overlaps, parsePrefix } from "@margay/net";

/**
 * How many addresses of a pool are in use, and its text with the pool closed: a pool that vanished under its pods would take
 * their routes along. Undefined when there are none.
 */
export async function poolInUse(
  store: Store,
  entry: Entry,
): Promise<{ count: number; closed: string } | undefined> {
  const pool = resourceOf(entry) as IPPool; // its key says so
  const range = parsePrefix(pool.spec.cidr);
  const blocks = await resources(store, "IPAMBlock").list(undefined, () => {}); // a corrupt one is `ipam check`'s
  const count = blocks
    .filter(({ spec }) => contains(range, parsePrefix(spec.cidr)))
    .reduce((sum, { spec }) => sum + Object.keys(spec.allocations).length, 0);
  if (count === 0) return undefined;
  return { count, closed: encode({ ...pool, spec: { ...pool.spec, disabled: true } }) };
}

/**
 * Why a pool cannot stand beside the others, or follow what it was: what no single object can tell (pure). `entries` are all
 * pools of the datastore.
 */
export function poolConflict(
  key: string,
  text: string,
  entries: Iterable<readonly [string, Entry]>,
): string | undefined {
  const { spec } = decode(key, text) as IPPool; // just made so
  const own = parsePrefix(spec.cidr);
  for (const [other, entry] of entries) {
    const pool = resourceOf(entry) as IPPool; // its key says so
    const { name } = pool.metadata;
    if (other !== key && overlaps(own, parsePrefix(pool.spec.cidr)))
      return `spec.cidr: ${spec.cidr} overlaps pool ${name}, which has ${pool.spec.cidr}`;
    if (other === key && (pool.spec.cidr !== spec.cidr || pool.spec.blockSize !== spec.blockSize))
      return `the pool of that name with ${pool.spec.cidr}, blocks of /${pool.spec.blockSize}, is still in use: make one of another name`;
  }
  return undefined;
}
