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

/** What DNS answers told of the domains that rules name: bounded, and forgotten when their time is over. Pure: the clock is an argument. */
export class LearntDomains {
  readonly #domains = new Map<string, Map<string, number>>();
  /** Of these, the names that only wildcards mean. */
  readonly #wild = new Set<string>();

  get all(): ReadonlyMap<string, Addresses> {
    return this.#domains;
  }

  /** @returns the texts of those that are new, and of those known that are good for longer than before; how many had no room */
  learn(
    domain: string,
    addresses: readonly LearntAddress[],
    { meant, now }: { readonly meant: Meant; readonly now: number },
  ): Told {
    const usable = addresses.filter(({ address }) => isElsewhere(address));
    if (usable.length === 0) return { fresh: [], longer: [], refused: 0 };
    const known = this.#domains.get(domain);
    if (!known && meant === "by wildcard" && this.#wild.size >= MOST_WILD)
      return { fresh: [], longer: [], refused: usable.length };
    const its = known ?? new Map<string, number>();
    this.#domains.set(domain, its);
    if (meant === "in full") this.#wild.delete(domain);
    else if (!known) this.#wild.add(domain);
    const [fresh, longer]: [string[], string[]] = [[], []];
    let room = Math.min(MOST_ADDRESSES - its.size, this.#roomFor(domain));
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
    if (its.size === 0) this.#drop(domain);
    return { fresh, longer, refused };
  }

  /** Addresses that may yet be learnt, as far as it is a name below wildcards. */
  #roomFor(domain: string): number {
    if (!this.#wild.has(domain)) return Number.POSITIVE_INFINITY;
    let taken = 0;
    for (const name of this.#wild) taken += this.#domains.get(name)?.size ?? 0;
    return MOST_WILD_ADDRESSES - taken;
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
