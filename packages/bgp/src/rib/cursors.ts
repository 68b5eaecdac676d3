/** How far the members of an update group have been told of its journal (`update-group.ts` has the picture). */
import type { Journal } from "./journal.ts";
import type { Source } from "./path.ts";

export interface Cursor {
  /** The last entry read; 0 is the head. */
  at: number;
  readonly members: Set<Source>;
  /** Entries that changed last before this were never sent to the members: their withdrawal says nothing. */
  since: number;
  /** End-of-RIB is due when the cursor first meets the tail. */
  endOfRib: boolean;
  /** Which mark of RFC 7313 §4 is due: the begin first, the end when the cursor meets the tail. */
  refresh?: "begin" | "end" | undefined;
  /** Prefixes that the members have from another group and are not told by this one: withdrawn first. */
  owed?: readonly number[] | undefined;
}

export class Cursors {
  readonly #journal: Journal;
  #all: Cursor[] = [];

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  get all(): readonly Cursor[] {
    return this.#all;
  }

  get members(): readonly Source[] {
    return this.#all.flatMap((c) => [...c.members]);
  }

  of(member: Source): Cursor | undefined {
    return this.#all.find((c) => c.members.has(member));
  }

  add(cursor: Cursor): void {
    this.#all.push(cursor);
  }

  leave(member: Source): void {
    for (const cursor of this.#all) cursor.members.delete(member);
    this.#all = this.#all.filter((c) => c.members.size > 0);
  }

  /** Members that are not ready keep the place of a cursor that is about to go on. */
  splitUnready(cursor: Cursor, ready: (member: Source) => boolean): void {
    const slow = [...cursor.members].filter((m) => !ready(m));
    if (slow.length === 0 || cursor.at === this.#journal.last) return;
    for (const member of slow) cursor.members.delete(member);
    this.#all.push({ ...cursor, members: new Set(slow) });
  }

  /** Cursors at one place with the same duties are one. */
  merge(): void {
    const kept: Cursor[] = [];
    for (const cursor of this.#all) {
      if (cursor.members.size === 0) continue;
      // At the tail nothing before `since` is ever read again, unless it changes.
      const atTail = cursor.at === this.#journal.last;
      // Joiners of one turn are told what one of them need not hear: withdrawals of what it never had.
      const joins = cursor.at === 0;
      const twin = kept.find(
        (c) => c.at === cursor.at && sameDuties(c, cursor) && (atTail || joins || c.since === cursor.since),
      );
      if (!twin) kept.push(cursor);
      else {
        for (const member of cursor.members) twin.members.add(member);
        twin.since = Math.min(twin.since, cursor.since);
      }
    }
    this.#all = kept;
  }

  /** Everybody has read this entry since it last changed. */
  arePast(entry: number): boolean {
    const changed = this.#journal.changedAt(entry);
    return this.#all.every((c) => c.at !== 0 && this.#journal.changedAt(c.at) >= changed);
  }

  /** Cursors that stand on an entry which moves: what lies behind it is still unread. */
  stepBack(entry: number, before: number): void {
    for (const cursor of this.#all) if (cursor.at === entry) cursor.at = before;
  }
}

const sameDuties = (a: Cursor, b: Cursor): boolean =>
  a.endOfRib === b.endOfRib && a.refresh === b.refresh && !a.owed && !b.owed;
