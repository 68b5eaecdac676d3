/** One iptables rule as iptables-restore words: nothing is quoted or joined by the caller. */
export interface Rule {
  /** For example `["-i", "cali+", "-p", "tcp", "--dport", "80"]`. Empty matches every packet. */
  readonly match: readonly string[];
  /** For example `["-j", "ACCEPT"]`. Empty: the rule only counts. */
  readonly target: readonly string[];
  /** Stable id, kept in the rule's comment in the kernel; `counters()` is keyed by it. */
  readonly id?: string;
}

/** A chain of ours; its key is `<table>/<chain>`, for example `"filter/margay-FORWARD"`. */
export interface Chain {
  readonly rules: readonly Rule[];
  /** Set only on chains read back from the kernel: the rules' hashes, which is all that is compared. */
  readonly hashes?: readonly string[];
}

/** Our rules inside a builtin chain; its key is `<table>/<CHAIN>`, for example `"filter/FORWARD"`. */
export interface Hook {
  /** Kept before every foreign rule. */
  readonly rules: readonly Rule[];
  /** Kept after every foreign rule. */
  readonly append?: readonly Rule[];
  /** Set only when read back from the kernel: hashes as found, or why the placing is wrong. */
  readonly found?: { readonly hashes: readonly string[]; readonly misplaced: boolean };
}

/** Packets and bytes that one rule, or several with the same id, matched. */
export interface Counter {
  readonly packets: number;
  readonly bytes: number;
}
