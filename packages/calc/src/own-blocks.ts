import { formatPrefix, hostPrefix, type Prefix } from "@margay/net";
import type { LocalEndpoint } from "./model.ts";
import { usedPodCidrs } from "./pod-cidrs.ts";

/** The node's blocks, and what Kubernetes gave it if pods' addresses come from there. */
export class OwnBlocks {
  #from: readonly unknown[] = [];
  #blocks: readonly Prefix[] = [];

  /** The same array as long as it says the same. */
  of(
    blocks: readonly Prefix[],
    podCidrs: readonly Prefix[],
    endpoints: readonly LocalEndpoint[],
  ): readonly Prefix[] {
    if (podCidrs.length === 0) return blocks;
    if (this.#from[0] === blocks && this.#from[1] === podCidrs && this.#from[2] === endpoints)
      return this.#blocks;
    this.#from = [blocks, podCidrs, endpoints];
    const addresses = endpoints.flatMap((endpoint) => endpoint.addresses.map(hostPrefix));
    const all = [...blocks, ...usedPodCidrs(podCidrs, blocks, addresses)];
    if (textOf(all) !== textOf(this.#blocks)) this.#blocks = all;
    return this.#blocks;
  }
}

const textOf = (blocks: readonly Prefix[]): string => blocks.map(formatPrefix).join();
