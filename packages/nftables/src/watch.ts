import type { Family } from "@margay/net";
import {
  attributes,
  EventSocket,
  type Message,
  NETLINK_NETFILTER,
  type NetlinkError,
  text,
} from "@margay/netlink";
import { types } from "./message.ts";

/** Something in nf_tables changed; iptables-nft's rules are there too, legacy's are not. */
export interface RuleChange {
  readonly family: Family;
  readonly table: string;
  /** Undefined where the change is the table's own. */
  readonly chain: string | undefined;
  /** Of a set's or a map's elements, or the set itself. */
  readonly set: string | undefined;
  readonly change: "new" | "deleted";
  /** Netlink port of who did it: a program's first socket has its process id. */
  readonly port: number;
}

export interface RuleWatchOptions {
  readonly namespace?: string;
  readonly onChange: (change: RuleChange) => void;
  /** Whose changes, by netlink port, are not told. */
  readonly isOurs: (port: number) => boolean;
  /** Some notifications were lost: anything may have changed. */
  readonly onOverflow: () => void;
  readonly onError: (error: NetlinkError) => void;
}

const NFNLGRP_NFTABLES = 7;

const CHAIN_AT: Readonly<Record<number, number>> = {
  ...{ [types.newChain]: 3, [types.deleteChain]: 3, [types.newRule]: 2, [types.deleteRule]: 2 },
};
const SETS: readonly number[] = [types.newSet, types.deleteSet, types.newElements, types.deleteElements];
const TABLES: readonly number[] = [types.newTable, types.deleteTable];
const DELETIONS: readonly number[] = [
  types.deleteTable,
  types.deleteChain,
  types.deleteRule,
  types.deleteSet,
  types.deleteElements,
];
/** Attributes that name a table, chain or set. */
const NAMES: ReadonlySet<number> = new Set([1, 2, 3]);
const FAMILIES: Readonly<Record<number, Family>> = { 2: 4, 10: 6 };

/** Tells of every change to the IPv4 and IPv6 tables of nf_tables, whosever they are, until it is closed. */
export function watchRules({ namespace, onChange, isOurs, ...rest }: RuleWatchOptions): EventSocket {
  return new EventSocket({
    ...{ protocol: NETLINK_NETFILTER, namespace, groups: 1 << (NFNLGRP_NFTABLES - 1), ...rest },
    onMessage: (message) => {
      const change = isOurs(message.port) ? undefined : changeOf(message);
      if (change) onChange(change);
    },
  });
}

function changeOf({ type, body, port }: Message): RuleChange | undefined {
  const isSet = SETS.includes(type);
  const chainAt = CHAIN_AT[type];
  if (body.byteLength < 4 || (chainAt === undefined && !isSet && !TABLES.includes(type))) return undefined;
  const family = FAMILIES[body.getUint8(0)];
  const found = attributes(body, 4, NAMES);
  const name = (at: number | undefined) => {
    const value = at === undefined ? undefined : found.get(at);
    return value && text(value);
  };
  const table = name(1);
  if (family === undefined || table === undefined) return undefined;
  return {
    ...{ family, table, chain: name(chainAt), set: isSet ? name(2) : undefined, port },
    change: DELETIONS.includes(type) ? "deleted" : "new",
  };
}
