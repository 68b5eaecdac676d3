/** Route leaks, RFC 9234 §5: a route that went down or sideways once never goes up or sideways again. */
import type { Attributes } from "../wire/attributes.ts";
import type { Role } from "../wire/capabilities.ts";

/** We are `role` to the peer. The route without leak marks missing, or why it is a leak. Ingress. */
export function receiveOnlyToCustomer(
  role: Role,
  peerAs: number,
  a: Attributes,
): { readonly attributes: Attributes } | { readonly refused: string } {
  const fromBelow = role === "provider" || role === "rs";
  const mark = a.onlyToCustomer;
  if (mark === undefined) return { attributes: fromBelow ? a : { ...a, onlyToCustomer: peerAs } }; // step 3
  if (fromBelow) return { refused: `a leak: ONLY_TO_CUSTOMER of AS ${mark} from a customer (RFC 9234 §5)` };
  if (role === "peer" && mark !== peerAs)
    return { refused: `a leak: ONLY_TO_CUSTOMER of AS ${mark} from a peer (RFC 9234 §5)` };
  return { attributes: a };
}

/** The other direction: what leaves. Egress. */
export function sendOnlyToCustomer(
  role: Role,
  localAs: number,
  a: Attributes,
): { readonly attributes: Attributes } | { readonly refused: string } {
  const toBelow = role === "provider" || role === "rs";
  if (a.onlyToCustomer !== undefined)
    return toBelow
      ? { attributes: a }
      : { refused: "ONLY_TO_CUSTOMER goes to customers alone (RFC 9234 §5)" };
  return { attributes: toBelow || role === "peer" ? { ...a, onlyToCustomer: localAs } : a };
}
