import type { Node } from "@margay/api";
import { contains, NetError, type Prefix, parsePrefix, samePrefix } from "@margay/net";

/** The node's `status.podCIDRs`, of both families; what is no network is left out, as a status has no schema. */
export function podCidrsOf(node: Node | undefined): readonly Prefix[] {
  const { podCIDRs } = (node?.status ?? {}) as { podCIDRs?: unknown };
  if (!Array.isArray(podCIDRs)) return [];
  return podCIDRs.flatMap((text) => {
    try {
      return [parsePrefix(String(text), { mask: true })];
    } catch (error) {
      if (!(error instanceof NetError)) throw error;
      return [];
    }
  });
}

/** Those of the ranges that addresses here come from (`usePodCidr`), and not from blocks of ours. */
export const usedPodCidrs = (
  podCidrs: readonly Prefix[],
  blocks: readonly Prefix[],
  addresses: readonly Prefix[],
): readonly Prefix[] =>
  podCidrs.filter(
    (range) =>
      !blocks.some((block) => samePrefix(block, range)) &&
      addresses.some(
        (address) => contains(range, address) && !blocks.some((block) => contains(block, address)),
      ),
  );
