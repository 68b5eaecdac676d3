import { type Address, formatAddress, parseAddress } from "@margay/net";
import type { LearntAddress } from "./message.ts";

/** NPEP-133 wants a hundred at least. */
export const MOST_ADDRESSES = 256;
/** Names below wildcards, all together: who may ask for any name may ask for many. Names that a rule spells out always have their place. */
export const MOST_WILD = 4096;
/** Of all these together: they are members of sets in the kernel, and written down at once. */
export const MOST_WILD_ADDRESSES = 16_384;
/** Who got an answer needs a moment to connect, and many keep it a little longer than they should. */
export const LEAST_SECONDS = 30;
export const LONGEST_SECONDS = 86_400;
/** While a connection lasts its address stays for so long at a time. */
export const LIVING_SECONDS = 30;

/** One domain's addresses, and until when each is good, in ms since 1970. */
export type Addresses = ReadonlyMap<string, number>;

/** Where a domain stands in rules: `Calc.domainMeant`. */
export type Meant = "in full" | "by wildcard";

export interface Told {
  readonly fresh: readonly string[];
  readonly longer: readonly string[];
  readonly refused: number;
}

export interface Learning {
  readonly meant: Meant;
  readonly now: number;
  /** Absent: nobody knows any more. */
  readonly asker?: string;
}

/** What DNS answers told of the domains that rules name: bounded, and forgotten when their time is over. Pure: the clock is an argument. */
export class LearntDomains {
  readonly #domains = new Map<string, Map<string, number>>();
  /** Of these, the names that only wildcards mean, and who was the last to bring an address of each. */
  readonly #wild = new Map<string, string | undefined>();

  get all(): ReadonlyMap<string, Addresses> {
    return this.#domains;
  }

  /** @returns the texts of those that are new, and of those known that are good for longer than before; how many had no room */
  learn(domain: string, addresses: readonly LearntAddress[], { meant, now, asker }: Learning): Told {
    const usable = addresses.filter(({ address }) => isElsewhere(address));
    if (usable.length === 0) return { fresh: [], longer: [], refused: 0 };
    const its = this.#domains.get(domain) ?? new Map<string, number>();
    if (meant === "in full") this.#wild.delete(domain);
    const isWild = meant === "by wildcard" && (its.size === 0 || this.#wild.has(domain));
    const [fresh, longer]: [string[], string[]] = [[], []];
    let room = Math.min(MOST_ADDRESSES - its.size, isWild ? this.#roomFor(domain, asker) : MOST_ADDRESSES);
    let refused = 0;
    for (const { address, ttlSeconds } of usable) {
      const text = formatAddress(address);
      const until = now + 1000 * Math.min(Math.max(ttlSeconds, LEAST_SECONDS), LONGEST_SECONDS);
      const before = its.get(text);
      if (before === undefined && room-- <= 0) refused++;
      else {
        if (before === undefined) fresh.push(text);
        else if (until > before) longer.push(text);
        its.set(text, Math.max(until, before ?? 0));
      }
    }
    if (its.size > 0) this.#domains.set(domain, its);
    if (isWild && fresh.length > 0) this.#wild.set(domain, asker);
    return { fresh, longer, refused };
  }

  /**
   * How many addresses of a name below wildcards an asker may yet bring: no more than leaves free as much as it then has itself, of names
   * and of addresses. So one has half of the room at most, two have a third each, and who has nothing always finds some.
   */
  #roomFor(domain: string, asker: string | undefined): number {
    const own = { names: 1, addresses: this.#domains.get(domain)?.size ?? 0 };
    const all = { ...own };
    for (const [name, by] of this.#wild) {
      if (name === domain) continue;
      const size = this.#domains.get(name)?.size ?? 0;
      all.names++;
      all.addresses += size;
      if (by !== asker || asker === undefined) continue;
      own.names++;
      own.addresses += size;
    }
    const [names, addresses] = [MOST_WILD - all.names, MOST_WILD_ADDRESSES - all.addresses];
    if (asker === undefined) return names < 0 ? 0 : addresses;
    return own.names > names ? 0 : Math.floor((addresses - own.addresses) / 2);
  }

  #drop(domain: string): void {
    this.#domains.delete(domain);
    this.#wild.delete(domain);
  }

  /** Addresses whose time is over: `forget` those, or keep them while they are in use. */
  due(now: number): readonly Address[] {
    const texts = [...this.#domains.values()].flatMap((its) =>
      [...its].flatMap(([text, until]) => (until <= now ? [text] : [])),
    );
    return [...new Set(texts)].map(parseAddress);
  }

  /** Forgets what is due and not in use, and domains that no rule means any more. @returns the domains of which something is gone */
  forget({ now, isUsed, isMeant }: Forgetting): readonly string[] {
    const changed: string[] = [];
    for (const [domain, its] of this.#domains) {
      const before = its.size;
      for (const [text, until] of its) {
        if (!isMeant(domain)) its.delete(text);
        else if (until <= now && isUsed(text)) its.set(text, now + 1000 * LIVING_SECONDS);
        else if (until <= now) its.delete(text);
      }
      if (its.size < before) changed.push(domain);
      if (its.size === 0) this.#drop(domain);
    }
    return changed;
  }
}

export interface Forgetting {
  readonly now: number;
  readonly isUsed: (address: string) => boolean;
  readonly isMeant: (domain: string) => boolean;
}

/**
 * Not the asker itself, its link or a group of many (RFC 6890): who owns a name below a wildcard may give it any address, and these mean another
 * thing on each node.
 */
function isElsewhere({ family, bits }: Address): boolean {
  if (family === 4) {
    const [first, second] = [Number(bits >> 24n), Number((bits >> 16n) & 0xffn)];
    return first !== 0 && first !== 127 && first < 224 && !(first === 169 && second === 254);
  }
  const isMapped = bits >> 32n === 0xffffn;
  return bits > 1n && !isMapped && bits >> 118n !== 0x3fan && bits >> 120n !== 0xffn;
}
