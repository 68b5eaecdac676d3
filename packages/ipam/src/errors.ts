import type { Family } from "@margay/net";

/** What went wrong, with the facts; `message` puts them in one sentence. */
export type IpamFailure =
  | { readonly code: "no-pool"; readonly node: string; readonly family: Family; readonly use: string }
  | { readonly code: "unknown-pool" | "pool-disabled"; readonly pool: string; readonly node: string }
  | {
      readonly code: "pool-exhausted";
      readonly pool: string;
      readonly node: string;
      readonly claimed: number;
      readonly blocks: bigint;
      readonly why: "strict" | "full" | "no-auto-allocate";
      /** A pool over the same ground, with blocks of another size. */
      readonly rival?: string;
    }
  | { readonly code: "pools-overlap"; readonly pool: string; readonly other: string; readonly node: string }
  | { readonly code: "block-limit"; readonly pool: string; readonly node: string; readonly limit: number }
  | { readonly code: "address-not-in-pool"; readonly address: string; readonly node: string }
  | { readonly code: "address-in-use"; readonly address: string; readonly by: string; readonly node: string }
  | {
      readonly code: "address-of-other-node";
      readonly address: string;
      readonly owner: string;
      readonly node: string;
    }
  | {
      readonly code: "address-besides";
      readonly address: string;
      /** What the handle has of that family already. */
      readonly held: string;
      readonly handle: string;
      readonly node: string;
    }
  | { readonly code: "corrupt-block"; readonly cidr: string; readonly node: string }
  | { readonly code: "contention"; readonly node: string; readonly attempts: number }
  | { readonly code: "datastore"; readonly node: string; readonly reason: string };

/** An expected failure of IPAM. `contention` and `datastore` may be retried as they are. */
export class IpamError extends Error {
  override readonly name = "IpamError";
  readonly code: IpamFailure["code"];
  readonly failure: IpamFailure;
  readonly pool?: string;
  readonly node: string;

  constructor(failure: IpamFailure, cause?: unknown) {
    super(`ipam: ${sentence(failure)}`, cause === undefined ? undefined : { cause });
    this.code = failure.code;
    this.failure = failure;
    this.node = failure.node;
    if ("pool" in failure) this.pool = failure.pool;
  }

  /** Whether the same request may succeed later without anybody changing the configuration. */
  get retryable(): boolean {
    return this.code === "contention" || this.code === "datastore";
  }
}

function sentence(f: IpamFailure): string {
  switch (f.code) {
    case "no-pool":
      return `no enabled IPv${f.family} pool gives ${f.use} addresses on node ${f.node} (see IPPool disabled, nodeSelector, namespaceSelector, assignmentMode, allowedUses)`;
    case "unknown-pool":
      return `pool ${f.pool} does not exist`;
    case "pool-disabled":
      return `pool ${f.pool} is disabled`;
    case "pool-exhausted":
      return f.rival === undefined
        ? exhausted(f)
        : `${exhausted(f)}; pool ${f.rival} overlaps, with blocks of another size: no new block is given of what both have (margay ipam check)`;
    case "pools-overlap":
      return `pool ${f.pool} overlaps pool ${f.other}, whose blocks have another size: no new block is given of what both have; delete or disable one of them (margay ipam check)`;
    case "block-limit":
      return `node ${f.node} has all of the ${f.limit} blocks that IPAMConfiguration.maxBlocksPerHost allows, and they are full (pool ${f.pool})`;
    case "address-not-in-pool":
      return `address ${f.address} is in no enabled pool`;
    case "address-in-use":
      return `address ${f.address} is in use by ${f.by}`;
    case "address-of-other-node":
      return `address ${f.address} is in a block of ${f.owner}, and strictAffinity is on`;
    case "address-besides":
      return `address ${f.address} is asked for by ${f.handle}, which has ${f.held}: it gets no second one, and keeps what it has until its DEL`;
    case "corrupt-block":
      return `block ${f.cidr} cannot be read: nothing in it is given or taken back until it is mended or deleted (margay ipam check)`;
    case "contention":
      return `gave up after ${f.attempts} attempts: other nodes keep changing the same blocks; try again`;
    case "datastore":
      return `the datastore did not take the change (${f.reason}); try again`;
  }
}

function exhausted(f: Extract<IpamFailure, { code: "pool-exhausted" }>): string {
  const claimed = `${f.claimed} of ${f.blocks} blocks claimed`;
  switch (f.why) {
    case "strict":
      return `pool ${f.pool} has no free block for node ${f.node} (${claimed}; strictAffinity is on)`;
    case "full":
      return `pool ${f.pool} has no free address for node ${f.node} (${claimed}, every address in use)`;
    case "no-auto-allocate":
      return `pool ${f.pool} has no free address for node ${f.node} (${claimed}; autoAllocateBlocks is off)`;
  }
}
