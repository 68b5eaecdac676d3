/** Peers that were not known before they connected (pure). */
import { type Address, contains, formatAddress, formatPrefix } from "@margay/net";
import type { ListenRange, WantedPeer } from "./config.ts";

/** The narrowest network that the address lies in. */
export const rangeFor = (ranges: readonly ListenRange[], address: Address): ListenRange | undefined =>
  ranges
    .filter(({ range }) => contains(range, address))
    .toSorted((a, b) => b.range.length - a.range.length)[0];

/** The peer that somebody who connects from a network becomes. */
export const memberOf = ({ template, range }: ListenRange, address: Address): WantedPeer => ({
  ...template,
  name: `${template.name} ${formatAddress(address)}`,
  address,
  passive: true,
  dynamic: formatPrefix(range),
});
