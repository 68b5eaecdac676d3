/**
 * Why a tool's run failed.
 * - `rejected`: the tool or the kernel refused a line; nothing of that line's table was changed (iptables),
 *   or the lines before it were applied (ipset)
 * - `exhausted`: the kernel had no memory, or was interrupted: nothing is said of the lines
 * - `too-long`: the transaction does not fit the netlink socket (nft backend in a user namespace)
 * - `locked`: another program held the xtables lock for longer than we wait
 * - `missing-tool`: not installed; the message names the Debian package
 * - `timeout`: killed after the time allowed
 * - `incompatible`: a table made by nft itself, which iptables-save cannot read; nothing was written to it
 * - `invalid`: refused by us before any tool ran
 */
export type IptablesErrorCode =
  | "rejected"
  | "exhausted"
  | "too-long"
  | "locked"
  | "missing-tool"
  | "timeout"
  | "incompatible"
  | "invalid";

/** What is known about a failure beyond its code. */
export interface IptablesErrorFacts {
  readonly tool: string;
  /** The tool's own words, or ours for `invalid`. */
  readonly reason: string;
  /** The offending line of the input, numbered from 1, and its text (with the rule's id in its comment). */
  readonly line?: number;
  readonly text?: string;
}

/** A failure of iptables-restore, iptables-save or ipset. */
export class IptablesError extends Error {
  readonly code: IptablesErrorCode;
  readonly facts: IptablesErrorFacts;
  constructor(code: IptablesErrorCode, facts: IptablesErrorFacts) {
    const where = facts.text === undefined ? "" : ` at line ${facts.line ?? "?"} (${facts.text})`;
    super(`${facts.tool}: ${code}${where}: ${facts.reason}`);
    this.name = "IptablesError";
    this.code = code;
    this.facts = facts;
  }
}
