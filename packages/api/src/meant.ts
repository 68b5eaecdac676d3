/** Slips of the hand that a word may hold and still be known, by its last part (`shop/db`): one in four letters or less, two in more. */
const slipsOf = (word: string): number => (word.length - word.lastIndexOf("/") > 5 ? 2 : 1);

/** Those of `names` that `word` may have been meant for, the closest first; ", did you mean a or b?", or nothing. Pure. */
export function didYouMean(word: string, names: Iterable<string>, most = 3): string {
  const limit = slipsOf(word);
  const found = [...new Set(names)]
    .filter((name) => Math.abs(name.length - word.length) <= limit)
    .map((name) => ({ name, slips: distance(word, name) }))
    .filter(({ slips }) => slips <= limit)
    .sort((a, b) => a.slips - b.slips)
    .slice(0, most);
  return found.length === 0 ? "" : `, did you mean ${found.map(({ name }) => name).join(" or ")}?`;
}

/** Letters to be left out, put in, exchanged, or swapped with the next, to make `b` of `a` (Damerau, Levenshtein). */
function distance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  const at = (i: number, j: number) => rows[i]?.[j] ?? Infinity; // outside
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    rows.push(row);
    for (let j = 1; j <= b.length; j++) {
      const swapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? at(i - 2, j - 2) + 1 : Infinity;
      const same = at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(same, at(i - 1, j) + 1, at(i, j - 1) + 1, swapped));
    }
  }
  return at(a.length, b.length);
}
