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

import { addressToBytes } from "@margay/net";
import { Recent } from "../recent.ts";
import { remember } from "../remember.ts";
import { writeAttributes } from "../wire/attribute-codec.ts";
import type { Attributes } from "../wire/attributes.ts";
import { lengths, refreshSubtypes } from "../wire/code-points.ts";
import { Interner } from "../wire/intern.ts";
import { frame, writeMessage } from "../wire/message.ts";
import { type WriteContext, writeEndOfRib } from "../wire/update.ts";
import { fits, UpdatePacker, type WireAttributes } from "./packer.ts";
import type { Route, Source } from "./path.ts";
import { grown, type PrefixTable } from "./prefix-table.ts";

/** Whole messages for some members, in sending order. The bytes are shared: do not write to them. */
export interface Outgoing {
  readonly bytes: Uint8Array;
  readonly to: readonly Source[];
}

export interface GroupOptions {
  readonly prefixes: PrefixTable;
  readonly write: WriteContext;
  /** Export policy: the attributes to send, or undefined to send nothing. The same object for the same route is quickest. */
  readonly exportRoute: (id: number, route: Route) => Attributes | undefined;
  /** Whether End-of-RIB may be said yet: a restarting speaker waits for what its peers tell it (RFC 4724 §4.1). */
  readonly mayEnd?: () => boolean;
}

interface Cursor {
  /** The last entry read; 0 is the head. */
  at: number;
  readonly members: Set<Source>;
  /** Entries that changed last before this were never sent to the members: their withdrawal says nothing. */
  readonly since: number;
  /** End-of-RIB is due when the cursor first meets the tail. */
  endOfRib: boolean;
  /** Which mark of RFC 7313 §4 is due: the begin first, the end when the cursor meets the tail. */
  refresh?: "begin" | "end" | undefined;
  /** Prefixes that the members have from another group and are not told by this one: withdrawn first. */
  owed?: readonly number[] | undefined;
}

/** Attributes that go out, one object for those that are the same on the wire. */
interface Outbound extends WireAttributes {
  readonly attributes: Attributes;
}

/** Who announced an entry since it was last clean: nobody, one source, or several. */
type Owner = Source | "several" | undefined;

/** Most prefixes read by one cursor in one go, so that keepalives and other peers get their turn. */
const batch = 4096;

export class UpdateGroup {
  readonly #options: GroupOptions;
  // Entry e is prefix id e - 1; entry 0 is both ends of the journal.
  #next = new Int32Array(1024);
  #prev = new Int32Array(1024);
  #changed = new Float64Array(1024);
  readonly #out: (Outbound | undefined)[] = [];
  readonly #sources: (Source | undefined)[] = [];
  readonly #owners: Owner[] = [];
  #clock = 0;
  #announced = 0;
  #cursors: Cursor[] = [];
  readonly #interner = new Interner<Outbound>();
  readonly #known = new Recent<Attributes, Outbound>();
  #last: Outbound | undefined;

  constructor(options: GroupOptions) {
    this.#options = options;
  }

  get members(): readonly Source[] {
    return this.#cursors.flatMap((c) => [...c.members]);
  }

  /** Prefixes in this Adj-RIB-Out; a member is not sent those that came from itself. */
  get size(): number {
    return this.#announced;
  }

  /** The Loc-RIB's best route of a prefix is now `route`. */
  put(id: number, route: Route | undefined): void {
    const entry = id + 1;
    const attributes = route && this.#options.exportRoute(id, route);
    const out = attributes && this.#outbound(attributes);
    const source = out && route?.source;
    const before = this.#out[entry];
    if (before === out && this.#sources[entry] === source) return;
    if (!before && out && this.#allPast(entry)) this.#owners[entry] = undefined;
    if (source) this.#owners[entry] = ownerAfter(this.#owners[entry], source);
    this.#announced += (out ? 1 : 0) - (before ? 1 : 0);
    this.#out[entry] = out;
    this.#sources[entry] = source;
    this.#moveToTail(entry);
  }

  /** What this group says of a prefix to `member` now. */
  sent(id: number, member: Source): Attributes | undefined {
    return this.#sources[id + 1] === member ? undefined : this.#out[id + 1]?.attributes;
  }

  /** The member is owed the whole table, then End-of-RIB. A member that is here already starts again. */
  join(member: Source, { endOfRib }: { endOfRib: boolean }): void {
    const known = this.#cursorOf(member);
    this.leave(member);
    const since = known ? known.since : this.#clock;
    // What was due besides the table still is.
    const due = { endOfRib: endOfRib || known?.endOfRib === true, owed: known?.owed };
    this.#cursors.push({ at: 0, members: new Set([member]), since, ...due });
  }

  /**
   * The member asked for everything again (RFC 2918); `marked`: between the marks of RFC 7313 §4, which may not stand
   * before the first End-of-RIB. One that is no member is told nothing.
   */
  refresh(member: Source, { marked }: { marked: boolean }): void {
    if (!this.#cursorOf(member)) return;
    this.join(member, { endOfRib: false });
    const cursor = this.#cursorOf(member);
    if (cursor && marked && !cursor.endOfRib) cursor.refresh = "begin";
  }

  /**
   * Takes a member over from another group, because its export policy changed: it is told what this group says and, first,
   * withdrawn what only the other one said. The session stays.
   */
  adopt(member: Source, from: UpdateGroup): void {
    const before = from.#cursorOf(member);
    const owed = before ? from.#saidTo(member, before).filter((id) => !this.sent(id, member)) : [];
    from.leave(member);
    this.join(member, { endOfRib: before?.endOfRib ?? true });
    const cursor = this.#cursorOf(member);
    if (cursor) Object.assign(cursor, { owed, refresh: before?.refresh });
  }

  #cursorOf(member: Source): Cursor | undefined {
    return this.#cursors.find((c) => c.members.has(member));
  }

  /** Prefixes that the member may have from us: those we say, and those it has not been told that they are gone. */
  #saidTo(member: Source, cursor: Cursor): number[] {
    const said = new Set(cursor.owed);
    for (let entry = 1; entry < this.#out.length; entry++)
      if (this.sent(entry - 1, member)) said.add(entry - 1);
    for (let entry = this.#next[cursor.at]!; entry !== 0; entry = this.#next[entry]!) said.add(entry - 1); // linked
    return [...said].toSorted((a, b) => a - b);
  }

  leave(member: Source): void {
    for (const cursor of this.#cursors) cursor.members.delete(member);
    this.#cursors = this.#cursors.filter((c) => c.members.size > 0);
  }

  /** Whether a member is owed anything. */
  get pending(): boolean {
    return this.#cursors.some((c) => c.at !== this.#prev[0] || this.#mayEnd(c) || c.refresh || c.owed);
  }

  /**
   * Up to one batch per cursor for the members that are `ready`. A member that is not ready keeps its place. Call
   * again while `pending` and somebody is ready.
   */
  *drain(ready: (member: Source) => boolean): Generator<Outgoing> {
    for (const cursor of [...this.#cursors]) {
      this.#splitUnready(cursor, ready);
      if (cursor.members.size > 0) yield* this.#advance(cursor);
    }
    this.#merge();
  }

  /** Undefined when no message can hold them: the routes are not announced (they would reset the session). */
  #outbound(attributes: Attributes): Outbound | undefined {
    if (this.#last?.attributes === attributes) return this.#last;
    const known = this.#known.get(attributes) ?? this.#encode(attributes);
    if (!known || !fits(known, this.#options.write.maxLength ?? lengths.max)) return undefined;
    this.#known.set(attributes, known);
    this.#last = known;
    return known;
  }

  #encode(attributes: Attributes): Outbound | undefined {
    const { nextHop } = attributes;
    if (!nextHop) throw new RangeError("attributes without a next hop");
    const bytes = writeAttributes(attributes, this.#options.write);
    // The next hop is among the attributes only where MP_REACH is not needed.
    const hops = nextHop.linkLocal ? [nextHop.address, nextHop.linkLocal] : [nextHop.address];
    const key = concat([bytes, ...hops.map(addressToBytes)]);
    const known = this.#interner.get(hops.length, key);
    if (known) return known;
    const made: Outbound = { attributes, bytes, nextHop };
    this.#interner.add(hops.length, key, made);
    return made;
  }

  #mayEnd(cursor: Cursor): boolean {
    return cursor.endOfRib && (this.#options.mayEnd?.() ?? true);
  }

  #splitUnready(cursor: Cursor, ready: (member: Source) => boolean): void {
    const slow = [...cursor.members].filter((m) => !ready(m));
    if (slow.length === 0 || cursor.at === this.#prev[0]) return;
    for (const member of slow) cursor.members.delete(member);
    this.#cursors.push({ ...cursor, members: new Set(slow) });
  }

  #advance(cursor: Cursor): Outgoing[] {
    const parcels = new Parcels(cursor.members);
    for (const id of cursor.owed ?? []) parcels.withdraw(id, undefined);
    cursor.owed = undefined;
    const marks = this.#marks(cursor);
    for (let count = 0; count < batch; count++) {
      const entry = this.#next[cursor.at]!; // a linked entry
      if (entry === 0) break;
      this.#sort(entry, cursor, parcels);
      cursor.at = entry;
    }
    const out = [...marks, ...parcels.encode(this.#options), ...this.#marks(cursor)];
    if (this.#mayEnd(cursor) && cursor.at === this.#prev[0]) {
      cursor.endOfRib = false;
      const bytes = frame("update", writeEndOfRib(this.#options.prefixes.family));
      out.push({ bytes, to: [...cursor.members] });
    }
    return out;
  }

  /** The mark of RFC 7313 §4 that is due here, if any. */
  #marks(cursor: Cursor): Outgoing[] {
    const { refresh } = cursor;
    if (!refresh || (refresh === "end" && cursor.at !== this.#prev[0])) return [];
    cursor.refresh = refresh === "begin" ? "end" : undefined;
    const { family } = this.#options.prefixes;
    const subtype = refreshSubtypes[refresh];
    return [{ bytes: writeMessage({ kind: "route-refresh", family, subtype }), to: [...cursor.members] }];
  }

  /** What one entry means for the members: an announcement, and a withdrawal for those it no longer goes to. */
  #sort(entry: number, cursor: Cursor, parcels: Parcels): void {
    const out = this.#out[entry];
    const source = this.#sources[entry];
    const owner = this.#owners[entry];
    const old = this.#changed[entry]! <= cursor.since; // never sent to these members
    if (out) parcels.announce(entry - 1, out, source);
    else if (!old) parcels.withdraw(entry - 1, owner === "several" ? undefined : owner);
    if (out && source && !old && owner !== source && cursor.members.has(source))
      parcels.withdrawFrom(entry - 1, source);
  }

  /** Cursors at one place with the same duties are one. */
  #merge(): void {
    const kept: Cursor[] = [];
    for (const cursor of this.#cursors) {
      if (cursor.members.size === 0) continue;
      // At the tail nothing before `since` is ever read again, unless it changes.
      const atTail = cursor.at === this.#prev[0];
      const twin = kept.find(
        (c) => c.at === cursor.at && sameDuties(c, cursor) && (atTail || c.since === cursor.since),
      );
      if (twin) for (const member of cursor.members) twin.members.add(member);
      else kept.push(cursor);
    }
    this.#cursors = kept;
  }

  /** Everybody has read this entry since it last changed. */
  #allPast(entry: number): boolean {
    const changed = this.#changed[entry] ?? 0;
    return this.#cursors.every((c) => c.at !== 0 && this.#changed[c.at]! >= changed);
  }

  #moveToTail(entry: number): void {
    while (entry >= this.#next.length) this.#grow();
    if (this.#changed[entry] !== 0) this.#unlink(entry);
    const last = this.#prev[0]!; // the sentinel is always linked
    this.#next[last] = entry;
    this.#prev[entry] = last;
    this.#next[entry] = 0;
    this.#prev[0] = entry;
    this.#changed[entry] = ++this.#clock;
  }

  /** A cursor that stands on the entry steps back: what lies behind it is still unread. */
  #unlink(entry: number): void {
    const [prev, next] = [this.#prev[entry]!, this.#next[entry]!];
    for (const cursor of this.#cursors) if (cursor.at === entry) cursor.at = prev;
    this.#next[prev] = next;
    this.#prev[next] = prev;
  }

  #grow(): void {
    this.#next = grown(this.#next, (n) => new Int32Array(n));
    this.#prev = grown(this.#prev, (n) => new Int32Array(n));
    this.#changed = grown(this.#changed, (n) => new Float64Array(n));
  }
}

const sameDuties = (a: Cursor, b: Cursor): boolean =>
  a.endOfRib === b.endOfRib && a.refresh === b.refresh && !a.owed && !b.owed;

const ownerAfter = (owner: Owner, source: Source): Owner =>
  owner === undefined || owner === source ? source : "several";

/** Prefixes that all members but one (or none) are told of. */
interface Run {
  readonly withdrawn: number[];
  readonly announced: Map<Outbound, number[]>;
}

/** One batch, sorted by attributes and receivers. */
class Parcels {
  readonly #members: ReadonlySet<Source>;
  /** By the member that is not told, since the routes are its own. */
  readonly #runs = new Map<Source | undefined, Run>();
  readonly #withdrawnFrom = new Map<Source, number[]>();

  constructor(members: ReadonlySet<Source>) {
    this.#members = members;
  }

  withdraw(id: number, except: Source | undefined): void {
    this.#run(except).withdrawn.push(id);
  }
  withdrawFrom(id: number, member: Source): void {
    remember(this.#withdrawnFrom, member, () => []).push(id);
  }
  announce(id: number, out: Outbound, except: Source | undefined): void {
    remember(this.#run(except).announced, out, () => []).push(id);
  }

  #run(except: Source | undefined): Run {
    const key = except && this.#members.has(except) ? except : undefined;
    return remember(this.#runs, key, () => ({ withdrawn: [], announced: new Map() }));
  }

  /**
   * All is encoded once. A member with routes of its own in the batch gets the bytes before and behind them:
   *
   *     | for all | all but n1 | all but n2 | ... |      n2 ◀─ the first two, then what follows
   */
  encode({ prefixes, write }: GroupOptions): Outgoing[] {
    const maxLength = write.maxLength ?? lengths.max;
    const packer = new UpdatePacker(prefixes, maxLength);
    const cuts: { readonly member: Source; readonly from: number; readonly to: number }[] = [];
    for (const [except, { withdrawn, announced }] of this.#runs) {
      const from = packer.length;
      packer.withdraw(withdrawn);
      for (const [out, ids] of announced) packer.announce(ids, out);
      if (except) cuts.push({ member: except, from, to: packer.length });
    }
    const whole = [...this.#members].filter((m) => !this.#runs.has(m));
    const parcels: Outgoing[] = [
      { bytes: packer.slice(0, packer.length), to: whole },
      ...cuts.flatMap(({ member, from, to }) => [
        { bytes: packer.slice(0, from), to: [member] },
        { bytes: packer.slice(to, packer.length), to: [member] },
      ]),
    ];
    for (const [member, ids] of this.#withdrawnFrom) {
      const own = new UpdatePacker(prefixes, maxLength);
      own.withdraw(ids);
      parcels.push({ bytes: own.slice(0, own.length), to: [member] });
    }
    return parcels.filter(({ bytes, to }) => bytes.length > 0 && to.length > 0);
  }
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, p) => sum + p.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
