import type { Family } from "@margay/net";
import type { Field, Rule } from "./statement.ts";

/** Where the kernel enters a chain. Lower priorities come first; nft's words: raw -300, mangle -150, filter 0, srcnat 100. */
export interface Base {
  readonly type: "filter" | "nat" | "route";
  readonly hook: "prerouting" | "input" | "forward" | "output" | "postrouting";
  readonly priority: number;
}

/** A chain of our table. Its policy, where it is a base chain, is accept. */
export interface Chain {
  readonly kind: "chain";
  readonly base?: Base | undefined;
  readonly rules: readonly Rule[];
  /** Set only on chains read back from the kernel: the rules' hashes, which is all that is compared. */
  readonly hashes?: readonly string[];
}

/**
 * A named set. Members are text, fields joined by ` . ` as nft does: `10.0.0.1`, `10.0.0.1 . 6 . 80`, `cali1`. With
 * `interval` (one field only) they may be networks and ranges, `10.0.0.0/8` and `80-90`, and may overlap.
 */
export interface NftSet {
  readonly kind: "set";
  readonly family: Family;
  readonly fields: readonly Field[];
  readonly interval?: boolean;
  readonly members: ReadonlySet<string>;
  /** Set only on what is read back from the kernel: in the form that is compared. */
  readonly elements?: ReadonlySet<string>;
}

/** A verdict map; members are `<key> : goto <chain>` or `<key> : jump <chain>`. */
export interface NftMap {
  readonly kind: "map";
  readonly family: Family;
  readonly fields: readonly Field[];
  readonly members: ReadonlySet<string>;
  readonly elements?: ReadonlySet<string>;
}

export type Item = Chain | NftSet | NftMap;

/** An item's key: `4/chain/forward`, `6/set/pools`, `4/map/from`. Sets and maps share one space of names. */
export const itemKey = (family: Family, kind: Item["kind"], name: string): string =>
  `${family}/${kind}/${name}`;

export interface ItemName {
  readonly family: Family;
  readonly kind: Item["kind"];
  readonly name: string;
}

export function parseKey(key: string): ItemName {
  const [family, kind, ...name] = key.split("/");
  return { family: family === "6" ? 6 : 4, kind: kind as Item["kind"], name: name.join("/") }; // made by itemKey
}
