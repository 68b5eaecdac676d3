import { encode, type IPPool } from "@margay/api";
import { type Entry, resourceOf, resources, type Store } from "@margay/datastore";
import { contains, parsePrefix } from "@margay/net";

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
