import { splitKey } from "./restore.ts";
import { type Hook, linesOf, sameRules } from "./rule.ts";
import type { SavedChain } from "./save.ts";

/**
 * How our rules stand in a builtin chain; undefined if none does. They are well placed when the chain reads:
 * ours, foreign, ours. Whether the first run and the last are the wanted ones, the hashes tell: those of
 * appended rules are salted.
 */
export function hookFound(chain: SavedChain): Hook | undefined {
  const hashes = chain.rules.flatMap((rule) => rule.ours?.hash ?? []);
  if (hashes.length === 0) return undefined;
  const foreign = chain.rules.flatMap((rule, i) => (rule.ours === undefined ? [i] : []));
  const [first = 0, last = -1] = [foreign[0], foreign.at(-1)];
  const misplaced = last - first + 1 > foreign.length;
  const heads = foreign.length === 0 ? undefined : first;
  return { rules: [], found: { hashes, misplaced, ...(heads !== undefined && { heads }) } };
}

/** Whether a builtin chain's part of ours is as wanted: the rules, their order, and their place. */
export function sameHook(actual: Hook, wanted: Hook, mark: string): boolean {
  if (actual.found === undefined) {
    return sameRules(actual.rules, wanted.rules) && sameRules(actual.append ?? [], wanted.append ?? []);
  }
  const { hashes, misplaced, heads } = actual.found;
  const { first, last } = hookLines(wanted, mark);
  const want = [...first, ...last].map((line) => line.hash);
  if (misplaced || hashes.join() !== want.join()) return false;
  return heads === undefined || heads === first.length;
}

/**
 * The edit that places our rules: every one of ours goes, by its whole text as the kernel printed it (a number
 * could by now be somebody else's rule), and the wanted ones come, in one transaction.
 */
export function hookEdit(key: string, chain: SavedChain | undefined, wanted: Hook, mark: string): string[] {
  const { name } = splitKey(key);
  const ours = chain?.rules.filter((rule) => rule.ours !== undefined) ?? [];
  const { first, last } = hookLines(wanted, mark);
  return [
    ...ours.map((rule) => `-D ${name} ${rule.spec}`),
    ...first.toReversed().map((line) => `-I ${name} ${line.spec}`),
    ...last.map((line) => `-A ${name} ${line.spec}`),
  ];
}

const hookLines = (hook: Hook, mark: string) => ({
  first: linesOf(hook.rules, mark),
  last: linesOf(hook.append ?? [], mark, "append"),
});
