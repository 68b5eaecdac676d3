import { readFileSync } from "node:fs";
import type { Family } from "@margay/net";
import { check } from "./error.ts";
import { native } from "./native.ts";
import { afOf } from "./route-message.ts";

const SOCK_RAW = 3;
/** IPT_SO_GET_INFO of IPPROTO_IP, IP6T_SO_GET_INFO of IPPROTO_IPV6. */
const GET_INFO = 64;
const LEVELS = { 4: 0, 6: 41 } as const;
const NAMES = { 4: "/proc/net/ip_tables_names", 6: "/proc/net/ip6_tables_names" } as const;
const HOOKS = 5;

/** What a table of legacy iptables looks like from outside. */
export interface LegacyTable {
  readonly entries: number;
  /** Bytes of each builtin chain's rules, in the order of the kernel's hooks: prerouting, input, forward, output, postrouting. */
  readonly builtins: readonly number[];
}

/** The legacy tables that this namespace has. Asking loads nothing. */
export function legacyTables(family: Family): string[] {
  try {
    return readFileSync(NAMES[family], "utf8").split("\n").filter(Boolean);
  } catch {
    return []; // the kernel has none of these, or does not tell a user in a namespace of his own
  }
}

/**
 * One table, by one getsockopt and without its rules: some microseconds. Only of tables that `legacyTables` named, or the
 * kernel may load its module. struct ipt_getinfo: name[32] | valid hooks u32 | entry[5] | underflow[5] | entries u32 | size u32
 */
export function legacyTable(family: Family, table: string): LegacyTable {
  const words = `look at legacy table ${table} (IPv${family})`;
  const fd = check(native().socket(afOf(family), SOCK_RAW, 255), words); // IPPROTO_RAW: receives nothing
  try {
    const info = new Uint8Array(84);
    info.set(new TextEncoder().encode(table));
    check(native().getsockopt(fd, LEVELS[family], GET_INFO, info), words);
    const view = new DataView(info.buffer);
    const valid = view.getUint32(32, true);
    const builtins = Array.from({ length: HOOKS }, (_, hook) =>
      (valid & (1 << hook)) === 0
        ? 0
        : view.getUint32(56 + 4 * hook, true) - view.getUint32(36 + 4 * hook, true),
    );
    return { entries: view.getUint32(76, true), builtins };
  } finally {
    native().close(fd);
  }
}
