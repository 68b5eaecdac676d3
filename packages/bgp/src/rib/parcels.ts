import { remember } from "../remember.ts";
import { splitNextHop } from "../wire/attribute-list.ts";
import type { ByteTable } from "../wire/byte-table.ts";
import { UpdatePacker } from "./packer.ts";
import type { Source } from "./path.ts";
import type { NlriSource } from "./prefix-table.ts";

/** Whole messages for some members, in sending order. The bytes are shared: do not write to them. */
export interface Outgoing {
  readonly bytes: Uint8Array;
  readonly to: readonly Source[];
}

/** Prefixes that all members but one (or none) are told of. */
interface Run {
  readonly withdrawn: number[];
  /** By the number of their attributes. */
  readonly announced: Map<number, number[]>;
}

/** What a batch is written with. */
export interface Writing {
  readonly prefixes: NlriSource;
  /** Attribute lists by number, joined with the next hop that MP_REACH needs; the code is its size. */
  readonly lists: ByteTable;
  readonly maxLength: number;
}

/** One batch, sorted by attributes and receivers. */
export class Parcels {
  readonly #members: ReadonlySet<Source>;
  /** By the member that is not told, since the routes are its own. */
  readonly #runs = new Map<Source | undefined, Run>();
  readonly #withdrawnFrom = new Map<Source, number[]>();
  #count = 0;
  // Neighbours in the journal are mostly of one source and have one list.
  #lastExcept: Source | undefined;
  #lastRun: Run | undefined;
  #lastList = -1;
  #lastIds: number[] = [];

  constructor(members: ReadonlySet<Source>) {
    this.#members = members;
  }

  withdraw(id: number, except: Source | undefined): void {
    this.#count++;
    this.#run(except).withdrawn.push(id);
  }

  withdrawFrom(id: number, member: Source): void {
    remember(this.#withdrawnFrom, member, () => []).push(id);
  }

  announce(id: number, list: number, except: Source | undefined): void {
    this.#count++;
    const run = this.#run(except);
    if (this.#lastList !== list) {
      this.#lastList = list;
      this.#lastIds = remember(run.announced, list, () => []);
    }
    this.#lastIds.push(id);
  }

  #run(except: Source | undefined): Run {
    if (this.#lastRun && this.#lastExcept === except) return this.#lastRun;
    const key = except && this.#members.has(except) ? except : undefined;
    const run = remember(this.#runs, key, () => ({ withdrawn: [], announced: new Map() }));
    if (run !== this.#lastRun) this.#lastList = -1;
    this.#lastExcept = except;
    this.#lastRun = run;
    return run;
  }

  /**
   * All is encoded once. A member with routes of its own in the batch gets the bytes before and behind them:
   *
   *     | for all | all but n1 | all but n2 | ... |      n2 ◀─ the first two, then what follows
   */
  encode({ prefixes, lists, maxLength }: Writing): Outgoing[] {
    const packer = new UpdatePacker(prefixes, maxLength, 1024 + this.#count * bytesEach);
    const cuts: { readonly member: Source; readonly from: number; readonly to: number }[] = [];
    for (const [except, { withdrawn, announced }] of this.#runs) {
      const from = packer.length;
      packer.withdraw(withdrawn);
      for (const [list, ids] of announced)
        packer.announce(ids, splitNextHop(lists.bytes(list), lists.code(list)));
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

/** What a prefix takes in a full table, its share of the attributes included; more is made when needed. */
const bytesEach = 24;
