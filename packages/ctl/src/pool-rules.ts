import type { AnyResource, IPPool } from "@margay/api";
import { overlaps, parsePrefix } from "@margay/net";
import type { Located } from "./documents.ts";

/** Why pools cannot be applied beside each other and beside those that exist: what no single document can tell. */
export function poolFaults(documents: readonly Located[], existing: readonly IPPool[]): string[] {
  const wanted = documents.filter((d): d is Located & { resource: IPPool } => isPool(d.resource));
  const named = new Map(existing.map((pool) => [pool.metadata.name, pool]));
  return wanted.flatMap(({ origin, resource }, i) => {
    const { name } = resource.metadata;
    const kept = existing.filter(
      (pool) => !wanted.some((w) => w.resource.metadata.name === pool.metadata.name),
    );
    const others = [...kept, ...wanted.slice(0, i).map((w) => w.resource)].filter(
      (pool) => pool.metadata.name !== name,
    );
    const faults = [...frozenFaults(resource, named.get(name)), ...overlapFaults(resource, others)];
    return faults.map((fault) => `${origin}: IPPool ${name}: ${fault}`);
  });
}

const isPool = (resource: AnyResource): resource is IPPool => resource.kind === "IPPool";

/** Blocks in use would no longer fit. */
function frozenFaults({ spec }: IPPool, before: IPPool | undefined): string[] {
  if (!before) return [];
  return (["cidr", "blockSize"] as const)
    .filter((field) => spec[field] !== before.spec[field])
    .map(
      (field) =>
        `spec.${field}: may not change, is ${before.spec[field]}, found ${spec[field]}; make a new pool and delete this one`,
    );
}

function overlapFaults({ spec }: IPPool, others: readonly IPPool[]): string[] {
  const own = parsePrefix(spec.cidr);
  return others
    .filter((other) => overlaps(own, parsePrefix(other.spec.cidr)))
    .map(
      (other) =>
        `spec.cidr: must not overlap another pool, found ${spec.cidr}; pool ${other.metadata.name} has ${other.spec.cidr}`,
    );
}
