import { IptablesError } from "./error.ts";
import { type Chain, type Line, linesOf } from "./rule.ts";

/** Chains we believe the kernel holds, by key; what an edit starts from. */
export type Known = ReadonlyMap<string, readonly Line[]>;

/** What makes one chain match: a full rewrite begins with its (flushing) declaration, an edit has none. */
export interface Edit {
  readonly key: string;
  readonly declare?: string;
  readonly lines: readonly string[];
}

/** Above this many deletions a rewrite of the chain is less text than the edit. */
const MAX_DELETIONS = 64;
/** Lines in one commit of `splitInput`: about 1 KB each as netlink, within the default socket buffer. */
const SPLIT_LINES = 100;
/** xt_entry_target's name field, less its NUL. */
const CHAIN_NAME_LENGTH = 28;
const TABLES = ["raw", "mangle", "nat", "filter"];

/** `"filter/FORWARD"` into its two halves. IptablesError `invalid` for an unknown table or a name too long. */
export function splitKey(key: string): { readonly table: string; readonly name: string } {
  const slash = key.indexOf("/");
  const [table, name] = [key.slice(0, slash), key.slice(slash + 1)];
  if (!TABLES.includes(table) || name === "" || name.length > CHAIN_NAME_LENGTH || /\s/.test(name)) {
    const reason = `chain ${JSON.stringify(key)}: want <${TABLES.join("|")}>/<name of 1 to ${CHAIN_NAME_LENGTH}>`;
    throw new IptablesError("invalid", { tool: "chain", reason });
  }
  return { table, name };
}

/** How each chain gets from what is known to what is wanted. */
export function edits(known: Known, wanted: ReadonlyMap<string, Chain>, mark: string): Edit[] {
  return [...wanted].map(([key, chain]) => edit(key, known.get(key), linesOf(chain.rules, mark)));
}

/**
 * Lines that keep their order stay, with their counters; the other old ones are deleted by their whole text, and the
 * other new ones inserted. Deletions come first: when rules change places, an inserted line must not be the one deleted.
 */
function edit(key: string, old: readonly Line[] | undefined, wanted: readonly Line[]): Edit {
  const { name } = splitKey(key);
  const kept = old === undefined ? new Set() : inOrder(old, wanted);
  const gone = old?.filter((line) => !kept.has(line.hash)) ?? [];
  if (
    old === undefined ||
    gone.length > MAX_DELETIONS ||
    (kept.size === 0 && wanted.length + gone.length > 0)
  ) {
    return { key, declare: `:${name} - [0:0]`, lines: wanted.map((line) => `-A ${name} ${line.spec}`) };
  }
  const tail = wanted.findLastIndex((line) => kept.has(line.hash));
  const place = (i: number) => (i > tail ? `-A ${name}` : `-I ${name} ${i + 1}`);
  const fresh = wanted.flatMap((line, i) => (kept.has(line.hash) ? [] : `${place(i)} ${line.spec}`));
  return { key, lines: [...gone.map((line) => `-D ${name} ${line.spec}`), ...fresh] };
}

/** The hashes of a longest subsequence of `wanted` that `old` has in the same order (patience sorting). */
function inOrder(old: readonly Line[], wanted: readonly Line[]): ReadonlySet<string> {
  interface Card {
    readonly hash: string;
    readonly at: number;
    readonly before: Card | undefined;
  }
  const positions = new Map(old.map((line, at) => [line.hash, at]));
  const piles: Card[] = []; // piles[n] ends the best subsequence of n + 1 cards; its positions increase with n
  for (const { hash } of wanted) {
    const at = positions.get(hash);
    if (at === undefined) continue;
    let [low, high] = [0, piles.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (piles[middle]!.at < at)
        low = middle + 1; // middle < piles.length
      else high = middle;
    }
    piles[low] = { hash, at, before: piles[low - 1] };
  }
  const kept = new Set<string>();
  for (let card = piles.at(-1); card !== undefined; card = card.before) kept.add(card.hash);
  return kept;
}

/** One commit a table: every chain declared before any rule names it, so that order does not matter. */
export function putInput(all: readonly Edit[]): string {
  return byTable(all, (these) => [
    commit([...these.flatMap((e) => e.declare ?? []), ...these.flatMap((e) => e.lines)]),
  ]);
}

/**
 * The same in small commits, called chains before their callers, for a kernel that refuses the whole as too long. Each chain
 * changes in one commit; one that is too long for that drops all while it is written, for short of rules it would return
 * what it is to deny.
 */
export function splitInput(all: readonly Edit[]): string {
  return byTable(all, (these) => pieces(calledFirst(these)).map(commit));
}

function pieces(all: readonly Edit[]): string[][] {
  const found: string[][] = [];
  for (const { key, declare, lines } of all) {
    const whole = [...(declare === undefined ? [] : [declare]), ...lines];
    const last = found.at(-1);
    if (last && last.length + whole.length <= SPLIT_LINES) last.push(...whole);
    else if (whole.length <= SPLIT_LINES) found.push(whole);
    else found.push(...inParts(closedMeanwhile(key, whole)));
  }
  return found;
}

/** The nat table has no DROP, and denies nothing. */
function closedMeanwhile(key: string, [declare = "", ...lines]: readonly string[]): string[] {
  const { table, name } = splitKey(key);
  return table === "nat"
    ? [declare, ...lines]
    : [declare, `-A ${name} -j DROP`, ...lines, `-D ${name} -j DROP`];
}

const inParts = (lines: readonly string[]): string[][] =>
  Array.from({ length: Math.ceil(lines.length / SPLIT_LINES) }, (_, i) =>
    lines.slice(i * SPLIT_LINES, (i + 1) * SPLIT_LINES),
  );

/** Flush all, then delete all: chains to remove may call each other, and one already gone is created first. */
export function removeInput(keys: readonly string[]): string {
  return byTable(
    keys.map((key) => ({ key, lines: [splitKey(key).name] })),
    (these) => {
      const names = these.flatMap((e) => e.lines);
      return [commit([...names.map((name) => `:${name} - [0:0]`), ...names.map((name) => `-X ${name}`)])];
    },
  );
}

/** The lines of a chain as those of another, without jumps to the chains whose names begin with `prefix`. */
export function tried(lines: readonly string[], name: string, prefix: string): string[] {
  const jump = new RegExp(` -[jg] ${prefix}\\S+$`);
  return lines.map((line) => line.replace(/^-A \S+/, `-A ${name}`).replace(jump, ""));
}

/** The first line without which those before it would be taken; undefined if all are. */
export async function firstRefused(
  lines: readonly string[],
  isTaken: (some: readonly string[]) => Promise<boolean>,
): Promise<string | undefined> {
  if (await isTaken(lines)) return undefined;
  let left = lines;
  while (left.length > 1) {
    const half = left.slice(0, left.length >> 1);
    left = (await isTaken(half)) ? left.slice(half.length) : half;
  }
  return left[0];
}

/** Wraps each table's part. */
export function byTable<E extends { readonly key: string }>(
  all: readonly E[],
  part: (these: E[]) => ((table: string) => string)[],
): string {
  return TABLES.flatMap((table) => {
    const these = all.filter((e) => splitKey(e.key).table === table);
    return these.length === 0 ? [] : part(these).map((render) => render(table));
  }).join("");
}

/** One transaction of one table. */
export const commit = (lines: readonly string[]) => (table: string) =>
  lines.length === 0 ? "" : `*${table}\n${lines.join("\n")}\nCOMMIT\n`;

/** Depth-first: a chain comes after all chains that its lines jump to. */
function calledFirst(all: readonly Edit[]): Edit[] {
  const left = new Map(all.map((e) => [splitKey(e.key).name, e]));
  const visit = (e: Edit): Edit[] => {
    left.delete(splitKey(e.key).name);
    const called = e.lines.flatMap((line) => / -[jg] (\S+)/.exec(line)?.[1] ?? []);
    return [
      ...called.flatMap((name) => {
        const next = left.get(name);
        return next === undefined ? [] : visit(next);
      }),
      e,
    ];
  };
  return all.flatMap((e) => (left.has(splitKey(e.key).name) ? visit(e) : []));
}
