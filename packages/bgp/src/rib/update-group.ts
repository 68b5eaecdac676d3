/**
 * Adj-RIB-Out, RFC 4271 §3.2, one for all peers with the same export policy (an update group).
 *
 * Every prefix stands once in a journal, at the place of its last change. A cursor is a place in it, shared by the
 * members that have been sent everything up to there:
 *
 *     head ── p7 ── p2 ── p9 ── p4 ── p1 ── tail
 *                    ▲                 ▲
 *              slow member       all the others
 *
 * What follows a cursor is read, packed by attributes, encoded once and handed to all members of the cursor. So a
 * joiner is a cursor at the head, a route refresh too; a slow peer is a cursor of its own that skips what changed
 * twice meanwhile; cursors that meet become one. No queue grows: what is not sent is a place in the journal.
 */

import type { Told } from "../policy/export-bytes.ts";
import { Recent } from "../recent.ts";
import { writeAttributes } from "../wire/attribute-codec.ts";
import { joinNextHop, nextHopSize } from "../wire/attribute-list.ts";
import type { Attributes } from "../wire/attributes.ts";
import { ByteTable } from "../wire/byte-table.ts";
import { lengths, refreshSubtypes } from "../wire/code-points.ts";
import { frame, writeMessage } from "../wire/message.ts";
import { type WriteContext, writeEndOfRib } from "../wire/write-update.ts";
import { type Cursor, Cursors } from "./cursors.ts";
import { Journal } from "./journal.ts";
import { Numbered } from "./numbered.ts";
import { fits, isPlain, type WireAttributes } from "./packer.ts";
import { type Outgoing, Parcels } from "./parcels.ts";
import type { Route, Source } from "./path.ts";
import type { PathSlots } from "./path-slots.ts";
import { grown, type NlriSource } from "./prefix-table.ts";
import type { NumberedRoute } from "./rib.ts";

export type { Outgoing } from "./parcels.ts";

export interface GroupOptions {
  /** The numbers that `put` is told; with `paths`, those of `PathSlots`. */
  readonly prefixes: NlriSource;
  readonly write: WriteContext;
  /** Export policy: the attributes to send, or undefined to send nothing. The same object for the same route is quickest. */
  readonly exportRoute: (id: number, route: Route) => Told;
  /** Members are told up to so many paths of a prefix, by `putPaths` (RFC 7911). */
  readonly paths?: { readonly max: number; readonly slots: PathSlots };
  /** Whether End-of-RIB may be said yet: a restarting speaker waits for what its peers tell it (RFC 4724 §4.1). */
  readonly mayEnd?: () => boolean;
}

/** Announced by several sources since the entry was last clean. */
const several = -1;

/** Most prefixes read by one cursor in one go, so that keepalives and other peers get their turn. */
const batch = 4096;

export class UpdateGroup {
  readonly #options: GroupOptions;
  // Entry e is prefix id e - 1.
  readonly #journal = new Journal();
  /** Number + 1 of the attributes that go out, in `#lists`; 0: nothing does. */
  #out = new Int32Array(1024);
  /** Number of the source, in `#sources`; 0: none. */
  #source = new Int32Array(1024);
  /** Number of the source that announced the entry since it was last clean, 0 for none, or `several`. */
  #owner = new Int32Array(1024);
  #used = 0;
  #announced = 0;
  /** Of these by number of the source. */
  readonly #announcedFrom: number[] = [];
  readonly #cursors = new Cursors(this.#journal);
  readonly #lists = new ByteTable();
  readonly #sources = new Numbered<Source>();
  readonly #known = new Recent<Attributes, WireAttributes>(recentLists);
  /** What export policy said last, and what became of it: neighbours are mostly of one route. */
  #told: Told;
  #toldNumber = 0;

  constructor(options: GroupOptions) {
    this.#options = options;
  }

  get members(): readonly Source[] {
    return this.#cursors.members;
  }

  /** Prefixes that a member is told (paths, where several are): all but those that came from itself. */
  sizeFor(member: Source): number {
    return this.#announced - (this.#announcedFrom[this.#sources.numberOf(member)] ?? 0);
  }

  /** How many paths of a prefix the members are told; undefined: its best route alone. */
  get maxPaths(): number | undefined {
    return this.#options.paths?.max;
  }

  /** The Loc-RIB's best route of a prefix is now `route`. */
  put(id: number, route: Route | undefined): void {
    this.#put(id, route, route && this.#options.exportRoute(id, route));
  }

  /** The paths of a prefix to be told are now these, the best first; those told before and not among them go. */
  putPaths(id: number, routes: readonly NumberedRoute[]): void {
    const { paths } = this.#options;
    if (!paths) throw new Error("a group that tells best routes alone was given several"); // broken invariant
    const kept = new Set<number>();
    for (const { route, pathId } of routes) {
      const slot = paths.slots.slot(id, pathId);
      kept.add(slot);
      this.#put(slot, route, this.#options.exportRoute(id, route));
    }
    for (const slot of paths.slots.ofPrefix(id)) if (!kept.has(slot)) this.#put(slot, undefined, undefined);
  }

  #put(id: number, route: Route | undefined, told: Told): void {
    const entry = id + 1;
    if (entry >= this.#out.length) this.#grow(entry);
    if (entry > this.#used) this.#used = entry;
    const out = told ? this.#numberOf(told) : 0;
    const source = out === 0 ? undefined : route?.source;
    const before = this.#out[entry]!; // grown
    const sourceBefore = this.#source[entry]!;
    if (before === out && this.#sources.of(sourceBefore) === source) return;
    if (before === 0 && out !== 0 && this.#owner[entry] !== 0 && this.#cursors.arePast(entry))
      this.#own(entry, 0);
    if (before !== 0) this.#count(sourceBefore, -1);
    if (out !== 0) this.#lists.retain(out - 1);
    if (before !== 0) this.#lists.release(before - 1);
    this.#out[entry] = out;
    const number = this.#sources.take(source);
    this.#source[entry] = number;
    if (out !== 0) this.#count(number, 1);
    if (number !== 0) this.#own(entry, ownerAfter(this.#owner[entry]!, number));
    this.#sources.release(sourceBefore);
    this.#moveToTail(entry);
  }

  #count(source: number, by: 1 | -1): void {
    this.#announced += by;
    this.#announcedFrom[source] = (this.#announcedFrom[source] ?? 0) + by;
  }

  #own(entry: number, owner: number): void {
    const before = this.#owner[entry]!; // grown
    if (before === owner) return;
    if (owner > 0) this.#sources.take(this.#sources.of(owner));
    this.#sources.release(before);
    this.#owner[entry] = owner;
  }

  /** Whether this group says a prefix to the member now. */
  #says(entry: number, member: Source): boolean {
    return (this.#out[entry] ?? 0) !== 0 && this.#sources.of(this.#source[entry]!) !== member; // has an `out`
  }

  /** The member is owed the whole table, then End-of-RIB. A member that is here already starts again. */
  join(member: Source, { endOfRib }: { endOfRib: boolean }): void {
    const known = this.#cursors.of(member);
    this.leave(member);
    const since = known ? known.since : this.#journal.clock;
    // What was due besides the table still is.
    const due = { endOfRib: endOfRib || known?.endOfRib === true, owed: known?.owed };
    this.#cursors.add({ at: 0, members: new Set([member]), since, ...due });
  }

  /**
   * The member asked for everything again (RFC 2918); `marked`: between the marks of RFC 7313 §4, which may not stand
   * before the first End-of-RIB. One that is no member is told nothing.
   */
  refresh(member: Source, { marked }: { marked: boolean }): void {
    if (!this.#cursors.of(member)) return;
    this.join(member, { endOfRib: false });
    const cursor = this.#cursors.of(member);
    if (cursor && marked && !cursor.endOfRib) cursor.refresh = "begin";
  }

  /**
   * Takes a member over from another group, because its export policy changed: it is told what this group says and, first,
   * withdrawn what only the other one said. The session stays.
   */
  adopt(member: Source, from: UpdateGroup): void {
    const before = from.#cursors.of(member);
    const owed = before ? from.#saidWithout(this, member, before) : [];
    from.leave(member);
    this.join(member, { endOfRib: before?.endOfRib ?? true });
    const cursor = this.#cursors.of(member);
    if (cursor) Object.assign(cursor, { owed, refresh: before?.refresh });
  }

  /** Prefixes that the member may have from us and not from the next group: those we say, and those it has not been told that they are gone. */
  #saidWithout(next: UpdateGroup, member: Source, cursor: Cursor): number[] {
    const untold = new Set(cursor.owed);
    const journal = this.#journal;
    for (let entry = journal.after(cursor.at); entry !== 0; entry = journal.after(entry))
      untold.add(entry - 1);
    const said = [...untold].filter((id) => !next.#says(id + 1, member));
    for (let entry = 1; entry <= this.#used; entry++)
      if (this.#says(entry, member) && !next.#says(entry, member) && !untold.has(entry - 1))
        said.push(entry - 1);
    return said.toSorted((a, b) => a - b);
  }

  leave(member: Source): void {
    this.#cursors.leave(member);
  }

  /** Whether a member is owed anything. */
  get pending(): boolean {
    return this.#cursors.all.some((c) => this.#owes(c));
  }

  /** Whether a member that is `ready` is owed anything. */
  isOwed(ready: (member: Source) => boolean): boolean {
    return this.#cursors.all.some((c) => this.#owes(c) && [...c.members].some(ready));
  }

  #owes(c: Cursor): boolean {
    return c.at !== this.#journal.last || this.#mayEnd(c) || c.refresh !== undefined || c.owed !== undefined;
  }

  /**
   * Up to one batch per cursor for the members that are `ready`. A member that is not ready keeps its place. Call
   * again while `pending` and somebody is ready.
   */
  *drain(ready: (member: Source) => boolean): Generator<Outgoing> {
    this.#cursors.merge(); // those who joined since are one
    for (const cursor of [...this.#cursors.all]) {
      this.#cursors.splitUnready(cursor, ready);
      if (cursor.members.size > 0) yield* this.#advance(cursor);
    }
    this.#cursors.merge();
  }

  /** Number + 1 of attributes; 0 when no message can hold them: the routes are not announced (they would reset the session). */
  #numberOf(told: WireAttributes | Attributes): number {
    if (told === this.#told) return this.#toldNumber;
    const wire = "bytes" in told ? told : this.#encoded(told);
    let number = 0;
    if (fits(wire, this.#options.write.maxLength ?? lengths.max)) {
      // The next hop is among the attributes only where MP_REACH is not needed.
      const hop = isPlain(wire.nextHop, this.#options.prefixes.family) ? undefined : wire.nextHop;
      number = this.#lists.add(nextHopSize(hop), joinNextHop(wire.bytes, hop)) + 1;
      this.#lists.retain(number - 1); // for as long as it is the last
    }
    if (this.#toldNumber !== 0) this.#lists.release(this.#toldNumber - 1);
    this.#told = told;
    this.#toldNumber = number;
    return number;
  }

  #encoded(attributes: Attributes): WireAttributes {
    const known = this.#known.get(attributes);
    if (known) return known;
    const { nextHop } = attributes;
    if (!nextHop) throw new RangeError("attributes without a next hop");
    const wire = { bytes: writeAttributes(attributes, this.#options.write), nextHop };
    this.#known.set(attributes, wire);
    return wire;
  }

  #mayEnd(cursor: Cursor): boolean {
    return cursor.endOfRib && (this.#options.mayEnd?.() ?? true);
  }

  #advance(cursor: Cursor): Outgoing[] {
    const parcels = new Parcels(cursor.members);
    for (const id of cursor.owed ?? []) parcels.withdraw(id, undefined);
    cursor.owed = undefined;
    const marks = this.#marks(cursor);
    for (let count = 0; count < batch; count++) {
      const entry = this.#journal.after(cursor.at);
      if (entry === 0) break;
      this.#sort(entry, cursor, parcels);
      cursor.at = entry;
    }
    const out = [...marks, ...parcels.encode(this.#writing), ...this.#marks(cursor)];
    if (this.#mayEnd(cursor) && cursor.at === this.#journal.last) {
      cursor.endOfRib = false;
      const bytes = frame("update", writeEndOfRib(this.#options.prefixes.family));
      out.push({ bytes, to: [...cursor.members] });
    }
    return out;
  }

  get #writing() {
    const { prefixes, write } = this.#options;
    return { prefixes, lists: this.#lists, maxLength: write.maxLength ?? lengths.max };
  }

  /** The mark of RFC 7313 §4 that is due here, if any. */
  #marks(cursor: Cursor): Outgoing[] {
    const { refresh } = cursor;
    if (!refresh || (refresh === "end" && cursor.at !== this.#journal.last)) return [];
    cursor.refresh = refresh === "begin" ? "end" : undefined;
    const { family } = this.#options.prefixes;
    const subtype = refreshSubtypes[refresh];
    return [{ bytes: writeMessage({ kind: "route-refresh", family, subtype }), to: [...cursor.members] }];
  }

  /** What one entry means for the members: an announcement, and a withdrawal for those it no longer goes to. */
  #sort(entry: number, cursor: Cursor, parcels: Parcels): void {
    const out = this.#out[entry]!; // a linked entry
    const source = this.#sources.of(this.#source[entry]!);
    const owner = this.#owner[entry]!;
    const old = this.#journal.changedAt(entry) <= cursor.since; // never sent to these members
    if (out !== 0) parcels.announce(entry - 1, out - 1, source);
    else if (!old) parcels.withdraw(entry - 1, this.#sources.of(owner));
    if (out !== 0 && source && !old && this.#sources.of(owner) !== source && cursor.members.has(source))
      parcels.withdrawFrom(entry - 1, source);
  }

  #moveToTail(entry: number): void {
    const before = this.#journal.touch(entry);
    if (before >= 0) this.#cursors.stepBack(entry, before);
  }

  #grow(entry: number): void {
    while (entry >= this.#out.length) {
      this.#out = grown(this.#out, (n) => new Int32Array(n));
      this.#source = grown(this.#source, (n) => new Int32Array(n));
      this.#owner = grown(this.#owner, (n) => new Int32Array(n));
    }
  }
}

/** Attributes that were no bytes yet and are remembered with them. */
const recentLists = 16_384;

const ownerAfter = (owner: number, source: number): number =>
  owner === 0 || owner === source ? source : several;
