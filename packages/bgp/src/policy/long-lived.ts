/** Long-lived graceful restart, RFC 9494: routes of a peer that is long away, kept as the last resort. */
import type { Attributes } from "../wire/attributes.ts";
import { communities } from "../wire/code-points.ts";
import { addCommunity, hasCommunity } from "./community.ts";

/** What a kept route becomes when the long-lived time begins, §4.2; refused if its maker does not want that (NO_LLGR, §4.3). */
export const longLived = (
  a: Attributes,
): { readonly attributes: Attributes } | { readonly refused: string } =>
  hasCommunity(a, communities.noLlgr)
    ? { refused: "NO_LLGR: not to be kept (RFC 9494 §4.3)" }
    : { attributes: addCommunity(a, communities.llgrStale) };
