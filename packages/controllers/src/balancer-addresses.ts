import type { IPPool } from "@margay/api";
import {
  type Address,
  contains,
  type Family,
  formatAddress,
  NetError,
  offset,
  type Prefix,
  parseAddress,
  prefixSize,
} from "@margay/net";
import type { Holders } from "./balancer-blocks.ts";
import type { BalancerFacts } from "./balancer-facts.ts";
import { isGivenBy, type Range, rangesOf } from "./balancer-ranges.ts";

export interface Balanced {
  readonly addresses: readonly string[];
  /** Why it has none, or not all. */
  readonly refused?: string;
}

/** What is not free, whatever the services say. */
export interface Already {
  /** By the blocks' word. */
  readonly former?: Holders;
  /** IPReservations: never given unasked. */
  readonly reserved?: readonly Prefix[];
  /** Load balancers' blocks that are there. */
  readonly blocks?: readonly Prefix[];
}

/**
 * Which service has which address (pure). Who has one keeps it, then whoever asks for one by name gets it, then the others the
 * lowest that is free, the oldest service first. The blocks say who has one (`former`), and where they say nothing the services'
 * own status, so that a restart, a new leader or a lost datastore changes nothing. What a service had that is not here any more
 * is not free until its block says so.
 */
export function balance(
  services: readonly BalancerFacts[],
  pools: readonly IPPool[],
  { former = new Map(), reserved = [], blocks = [] }: Already = {},
): ReadonlyMap<string, Balanced> {
  const ranges = rangesOf(pools, blocks);
  const used = new Uses(reserved);
  const sorted = services.toSorted((a, b) => compare(a.created, b.created) || compare(a.name, b.name));
  const held = new Map<string, Map<Family, string>>();
  const take = (service: BalancerFacts, family: Family, address: string) => {
    const own = held.get(service.name) ?? new Map<Family, string>();
    held.set(service.name, own.set(family, address));
    used.add(address, service);
  };
  const here = new Set(services.map(({ name }) => name));
  for (const [address, names] of former) if (!names.some((name) => here.has(name))) used.close(address);
  const had = addressesBy(former);
  for (const saysSo of [
    ({ name }: BalancerFacts) => had.get(name) ?? [],
    (one: BalancerFacts) => one.current,
  ])
    for (const service of sorted)
      for (const [family, address] of kept(service, saysSo(service), ranges))
        if (!held.get(service.name)?.has(family) && used.allows(address, service))
          take(service, family, address);
  for (const isAsking of [true, false])
    for (const service of sorted.filter(({ asked }) => asked.length > 0 === isAsking))
      for (const family of service.families) {
        if (held.get(service.name)?.has(family)) continue;
        const address = find(service, family, ranges, used);
        if (address !== undefined) take(service, family, address);
      }
  return new Map(
    sorted.map((service) => [service.name, outcome(service, held.get(service.name), { used, ranges })]),
  );
}

/** Services by address, in order of name. */
export function holdersOf(wanted: ReadonlyMap<string, Balanced>): Holders {
  const holders = new Map<string, string[]>();
  for (const [service, { addresses }] of [...wanted].toSorted(([a], [b]) => (a < b ? -1 : 1)))
    for (const address of addresses) holders.set(address, [...(holders.get(address) ?? []), service]);
  return holders;
}

/** Whoever gives up an address is told before whoever gets it. */
export const losersFirst = (
  services: readonly BalancerFacts[],
  wanted: ReadonlyMap<string, Balanced>,
): BalancerFacts[] => {
  const loses = ({ name, current }: BalancerFacts) =>
    current.some((address) => !wanted.get(name)?.addresses.includes(address)) ? 0 : 1;
  return services.toSorted((a, b) => loses(a) - loses(b));
};

/** Addresses of each service. */
function addressesBy(former: Holders): ReadonlyMap<string, readonly string[]> {
  const by = new Map<string, string[]>();
  for (const [address, names] of former)
    for (const name of names) by.set(name, [...(by.get(name) ?? []), address]);
  return by;
}

/** What of its addresses the service may keep. */
function kept(
  service: BalancerFacts,
  addresses: readonly string[],
  ranges: readonly Range[],
): [Family, string][] {
  return addresses.flatMap((text): [Family, string][] => {
    const address = addressIn(text);
    if (!address || !service.families.includes(address.family)) return [];
    const range = ranges.find(({ cidr }) => contains(cidr, address));
    const wanted = service.asked.length === 0 || service.asked.some((one) => sameText(one, address));
    return range && wanted && mayUse(service, range) ? [[address.family, formatAddress(address)]] : [];
  });
}

const mayUse = ({ pools }: BalancerFacts, { name }: Range): boolean =>
  pools.length === 0 || pools.includes(name);

function find(
  service: BalancerFacts,
  family: Family,
  ranges: readonly Range[],
  used: Uses,
): string | undefined {
  const mine = ranges.filter(({ cidr, gives }) => gives && cidr.family === family);
  if (service.asked.length > 0) {
    const address = service.asked.map(addressIn).find((one) => one?.family === family);
    const text = address && formatAddress(address);
    const isIn = address && mine.some((range) => isGivenBy(range, address) && mayUse(service, range));
    return text && isIn && used.allows(text, service) ? text : undefined;
  }
  const named = mine.filter(
    (range) => mayUse(service, range) && (range.automatic || service.pools.length > 0),
  );
  const shared = service.sharingKey && used.sharedWith(service, named);
  return shared || named.map((range) => used.lowestOf(range)).find((one) => one !== undefined);
}

function outcome(
  service: BalancerFacts,
  own: ReadonlyMap<Family, string> | undefined,
  { used, ranges }: { used: Uses; ranges: readonly Range[] },
): Balanced {
  const addresses = service.families.flatMap((family) => own?.get(family) ?? []);
  const missing = service.families.filter((family) => !own?.has(family));
  const isWhole = missing.length === 0 || (addresses.length > 0 && service.isSecondOptional);
  if (isWhole) return { addresses };
  const why = missing.map((family) => {
    const asked = service.asked.find((text) => addressIn(text)?.family === family);
    const address = asked === undefined ? undefined : addressIn(asked);
    const isContested = ranges.some((range) => {
      if (!range.gives || range.cidr.family !== family) return false;
      return address
        ? contains(range.cidr, address) && !isGivenBy(range, address)
        : range.contested.length > 0;
    });
    const what = asked
      ? `${asked} is ${used.has(asked) ? "another service's" : `in no ${isContested ? "block" : "pool for load balancers"}`}`
      : `no pool for load balancers has a free IPv${family} address`;
    return isContested ? `${what}; ${CONTESTED}` : what;
  });
  return { addresses: service.isSecondOptional ? addresses : [], refused: why.join("; ") };
}

const CONTESTED = "what two pools with blocks of different sizes both have is not given (margay ipam check)";

/** Who uses an address, by ports. */
class Uses {
  readonly #by = new Map<string, BalancerFacts[]>();
  readonly #closed = new Set<string>();
  readonly #reserved: readonly Prefix[];

  constructor(reserved: readonly Prefix[]) {
    this.#reserved = reserved;
  }

  add(address: string, service: BalancerFacts): void {
    this.#by.set(address, [...(this.#by.get(address) ?? []), service]);
  }

  /** Nobody may have it. */
  close(address: string): void {
    this.#closed.add(address);
  }

  has(address: string): boolean {
    return this.#by.has(address) || this.#closed.has(address);
  }

  /** Free, or shared by agreement: one key, and no port twice. */
  allows(address: string, { sharingKey, ports }: BalancerFacts): boolean {
    if (this.#closed.has(address)) return false;
    return (this.#by.get(address) ?? []).every(
      (other) =>
        sharingKey !== undefined &&
        other.sharingKey === sharingKey &&
        !other.ports.some((port) => ports.includes(port)),
    );
  }

  /** The lowest free address, of contested ground only what has a block. */
  lowestOf({ cidr, contested, open }: Range): string | undefined {
    const free = this.#lowest(cidr, contested);
    return free ?? open.map((one) => this.#lowest(one, [])).find((one) => one !== undefined);
  }

  /** Looks at no more of them than are in use, and at a reserved network once. */
  #lowest(cidr: Prefix, closed: readonly Prefix[]): string | undefined {
    const size = prefixSize(cidr);
    const barred = [...this.#reserved, ...closed];
    for (let at = 0n; at < size; at++) {
      const address = offset(cidr, at);
      const reserved = barred.find((one) => contains(one, address));
      if (reserved) at = reserved.bits + prefixSize(reserved) - 1n - cidr.bits;
      else if (!this.has(formatAddress(address))) return formatAddress(address);
    }
    return undefined;
  }

  sharedWith(service: BalancerFacts, ranges: readonly Range[]): string | undefined {
    return [...this.#by.keys()].find((text) => {
      const address = addressIn(text);
      return address && ranges.some(({ cidr }) => contains(cidr, address)) && this.allows(text, service);
    });
  }
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const sameText = (text: string, address: Address): boolean => {
  const other = addressIn(text);
  return other !== undefined && formatAddress(other) === formatAddress(address);
};

function addressIn(text: string): Address | undefined {
  try {
    return parseAddress(text);
  } catch (error) {
    if (error instanceof NetError) return undefined;
    throw error;
  }
}
