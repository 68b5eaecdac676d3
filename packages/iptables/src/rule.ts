import { hash } from "node:crypto";
import { IptablesError } from "./error.ts";
import { joinWords } from "./words.ts";

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
  /** Set only on hooks read back from the kernel; see `hookFound`. */
  readonly found?: {
    readonly hashes: readonly string[];
    /** Some of ours stand between foreign rules. */
    readonly misplaced: boolean;
    /** How many of ours stand before the first foreign rule; absent if there is no foreign rule. */
    readonly heads?: number;
  };
}

/** Packets and bytes that one rule, or several with the same id, matched. */
export interface Counter {
  readonly packets: number;
  readonly bytes: number;
}

/** A rule as it stands in a chain: its hash, and all that follows `-A <chain>`. */
export interface Line {
  readonly hash: string;
  readonly spec: string;
}

/** xt_comment holds 255 characters: `margay:` + 16 + a space leave this for the id. */
const ID_LENGTH = 231;

/** The id as the kernel can hold it: printable ASCII, and the end of a too long one replaced by its hash. */
export function shownId(id: string): string {
  const clean = id.replace(/[^ -~]/g, "_");
  if (clean.length <= ID_LENGTH) return clean;
  return `${clean.slice(0, ID_LENGTH - 17)}~${hash16(id)}`;
}

/** The mark that begins the comment of every rule of ours: `margay:` for the prefix `margay-`. */
export const markOf = (prefix: string): string => `${prefix.replace(/-$/, "")}:`;

/**
 * The lines of a chain. A rule's hash covers its words and how many equal rules stand before it (and `salt`),
 * so that every line of a chain is unique and an edit can name the one to delete. It does not cover the rules
 * before it: then one insertion would change every line after it, and their counters would be lost.
 */
export function linesOf(rules: readonly Rule[], mark: string, salt = ""): readonly Line[] {
  const known = written.get(rules);
  if (known?.mark === mark && known.salt === salt) return known.lines;
  const lines = write(rules, mark, salt);
  written.set(rules, { mark, salt, lines });
  return lines;
}

/** Whether `line`, which `write` made or an edit of a chain, is that of one of the rules. */
export function hasLine(rules: readonly Rule[], prefix: string, line: string): boolean {
  const mark = markOf(prefix);
  const digest = new RegExp(`--comment "?${mark}([\\w-]{16})`).exec(line)?.[1];
  return linesOf(rules, mark).some(({ hash }) => hash === digest);
}

/** The same rules are asked for when they are compared, written and remembered. */
const written = new WeakMap<readonly Rule[], { mark: string; salt: string; lines: readonly Line[] }>();

function write(rules: readonly Rule[], mark: string, salt: string): Line[] {
  const seen = new Map<string, number>();
  return rules.map((rule) => {
    const text = ruleText(rule);
    const nth = seen.get(text) ?? 0;
    seen.set(text, nth + 1);
    const digest = hash16(`${salt}${nth}\0${text}`);
    const comment = rule.id === undefined ? `${mark}${digest}` : `${mark}${digest} ${shownId(rule.id)}`;
    const words = ["-m", "comment", "--comment", comment, ...rule.match, ...rule.target];
    return { hash: digest, spec: joinWords(words) };
  });
}

/** All that tells one rule from another. IptablesError `invalid` for a word that would end the line. */
function ruleText(rule: Rule): string {
  const text = [...rule.match, "\0", ...rule.target, "\0", rule.id ?? ""].join(" ");
  if (/[\r\n]/.test(text)) {
    throw new IptablesError("invalid", { tool: "rule", reason: `line break in ${JSON.stringify(text)}` });
  }
  return text;
}

/** Whether two lists of rules would be the same lines; called for every chain at every pass, so it makes nothing. */
export const sameRules = (a: readonly Rule[], b: readonly Rule[]): boolean =>
  a === b || (a.length === b.length && a.every((rule, i) => sameRule(rule, b[i]!))); // i < b.length

const sameRule = (a: Rule, b: Rule): boolean =>
  a === b || (a.id === b.id && sameWords(a.match, b.match) && sameWords(a.target, b.target));

const sameWords = (a: readonly string[], b: readonly string[]): boolean =>
  a === b || (a.length === b.length && a.every((word, i) => word === b[i]));

const hash16 = (text: string): string => hash("sha256", text, "base64url").slice(0, 16);
