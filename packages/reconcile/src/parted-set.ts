import { bucketOf } from "./bucketed.ts";

/** A set up to this size is one part. */
const WHOLE_AT_MOST = 1024;
const WHOLE = "all";

/** By its first field: `10.0.0.1,tcp:80` stands beside `10.0.0.1`. */
function placeOf(member: string): string {
  const end = member.search(/[ ,]/);
  return bucketOf(end < 0 ? member : member.slice(0, end));
}

/**
 * A set of text that is never changed, a large one in parts by a hash of its members: an edited copy shares those parts in which
 * nothing was edited, as `Bucketed` does for maps.
 */
export class PartedSet implements ReadonlySet<string> {
  readonly size: number;
  readonly parts: ReadonlyMap<string, ReadonlySet<string>>;

  private constructor(parts: ReadonlyMap<string, ReadonlySet<string>>) {
    this.parts = parts;
    this.size = [...parts.values()].reduce((sum, part) => sum + part.size, 0);
  }

  static readonly empty = new PartedSet(new Map());

  has(member: string): boolean {
    return (this.parts.get(WHOLE) ?? this.parts.get(placeOf(member)))?.has(member) ?? false;
  }

  /** With these members (true), and without those (false). The same object if that is no difference. */
  edited(edits: Iterable<readonly [member: string, isThere: boolean]>): PartedSet {
    const changes = [...edits].filter(([member, isThere]) => this.has(member) !== isThere);
    if (changes.length === 0) return this;
    const isWhole = this.size + changes.length <= WHOLE_AT_MOST;
    const wasWhole = this.size === 0 || this.parts.has(WHOLE);
    const partOf = isWhole ? () => WHOLE : placeOf;
    const moved = isWhole === wasWhole ? [] : [...this].map((member) => [member, true] as const);
    const parts = new Map(moved.length > 0 ? [] : this.parts);
    const fresh = new Map<string, Set<string>>();
    for (const [member, isThere] of [...moved, ...changes]) {
      const id = partOf(member);
      const part = fresh.get(id) ?? new Set(parts.get(id));
      fresh.set(id, part);
      if (isThere) part.add(member);
      else part.delete(member);
    }
    for (const [id, part] of fresh)
      if (part.size > 0) parts.set(id, part);
      else parts.delete(id);
    return new PartedSet(parts);
  }

  /** What `make` makes of each part: it may leave members out, and change what comes behind a member's first field. */
  byPart(make: (part: ReadonlySet<string>) => ReadonlySet<string>): PartedSet {
    return new PartedSet(new Map([...this.parts].map(([id, part]) => [id, make(part)])));
  }

  *values(): SetIterator<string> {
    for (const part of this.parts.values()) yield* part.values();
  }

  keys(): SetIterator<string> {
    return this.values();
  }

  *entries(): SetIterator<[string, string]> {
    for (const member of this.values()) yield [member, member];
  }

  [Symbol.iterator](): SetIterator<string> {
    return this.values();
  }

  forEach(visit: (member: string, again: string, set: ReadonlySet<string>) => void): void {
    for (const member of this.values()) visit(member, member, this);
  }
}

/** Its parts; any other set is one. */
export const partsOfSet = (set: ReadonlySet<string>): ReadonlyMap<string, ReadonlySet<string>> =>
  set instanceof PartedSet ? set.parts : new Map([[WHOLE, set]]);

/** What `now` has no more, and what it has more; parts that are the same objects are not looked into. */
export function setDifference(
  before: ReadonlySet<string>,
  now: ReadonlySet<string>,
): { readonly gone: readonly string[]; readonly fresh: readonly string[] } {
  const [gone, fresh]: [string[], string[]] = [[], []];
  const [olds, news] = [partsOfSet(before), partsOfSet(now)];
  for (const [id, part] of olds)
    if (news.get(id) !== part) for (const member of part) if (!now.has(member)) gone.push(member);
  for (const [id, part] of news)
    if (olds.get(id) !== part) for (const member of part) if (!before.has(member)) fresh.push(member);
  return { gone, fresh };
}

/** Whether both have the same members; parts that are the same objects are not looked into. */
export function sameMembers(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  if (a === b) return true;
  if (a.size !== b.size) return false;
  const olds = partsOfSet(a);
  for (const [id, part] of partsOfSet(b))
    if (olds.get(id) !== part) for (const member of part) if (!a.has(member)) return false;
  return true;
}
