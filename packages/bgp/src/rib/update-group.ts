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
import { lengths } from "../wire/code-points.ts";
import { Interner } from "../wire/intern.ts";
import { frame } from "../wire/message.ts";
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

  /** The member is owed the whole table, then End-of-RIB. A member that is here already starts again (route refresh). */
  join(member: Source, { endOfRib }: { endOfRib: boolean }): void {
    const known = this.#cursors.find((c) => c.members.has(member));
    this.leave(member);
    this.#cursors.push({
      at: 0,
      members: new Set([member]),
      since: known ? known.since : this.#clock,
      endOfRib,
    });
  }

  leave(member: Source): void {
    for (const cursor of this.#cursors) cursor.members.delete(member);
    this.#cursors = this.#cursors.filter((c) => c.members.size > 0);
  }

  /** Whether a member is owed anything. */
  get pending(): boolean {
    return this.#cursors.some((c) => c.at !== this.#prev[0] || this.#mayEnd(c));
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
    for (let count = 0; count < batch; count++) {
      const entry = this.#next[cursor.at]!; // a linked entry
      if (entry === 0) break;
      this.#sort(entry, cursor, parcels);
      cursor.at = entry;
    }
    const out = parcels.encode(this.#options);
    if (this.#mayEnd(cursor) && cursor.at === this.#prev[0]) {
      cursor.endOfRib = false;
      const bytes = frame("update", writeEndOfRib(this.#options.prefixes.family));
      out.push({ bytes, to: [...cursor.members] });
    }
    return out;
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
        (c) => c.at === cursor.at && c.endOfRib === cursor.endOfRib && (atTail || c.since === cursor.since),
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
