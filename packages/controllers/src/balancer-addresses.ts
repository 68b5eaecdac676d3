import type { IPPool } from "@margay/api";
import type { KubernetesObject } from "@margay/kubernetes";
import {
  type Address,
  contains,
  type Family,
  formatAddress,
  NetError,
  offset,
  type Prefix,
  parseAddress,
  parsePrefix,
  prefixSize,
} from "@margay/net";

/** What of a Service of type LoadBalancer its addresses depend on. */
export interface BalancerFacts {
  /** "namespace/name". */
  readonly name: string;
  readonly version: string | undefined;
  readonly uid: string | undefined;
  readonly created: string;
  readonly families: readonly Family[];
  /** A second family may be missing where no pool has it. */
  readonly isSecondOptional: boolean;
  /** Asked for by name, one of a family. */
  readonly asked: readonly string[];
  /** Names of pools; empty: any. */
  readonly pools: readonly string[];
  /** Services with the same key may share an address, each with ports of its own. */
  readonly sharingKey: string | undefined;
  /** "TCP/80". */
  readonly ports: readonly string[];
  /** What its status says now. */
  readonly current: readonly string[];
}

/** Each first ours, then others' that people know. */
const ANNOTATIONS = {
  asked: ["margay.dev/load-balancer-ips", "projectcalico.org/loadBalancerIPs"],
  pools4: ["margay.dev/ipv4pools", "projectcalico.org/ipv4pools"],
  pools6: ["margay.dev/ipv6pools", "projectcalico.org/ipv6pools"],
  sharing: ["margay.dev/shared-ip", "metallb.io/allow-shared-ip"],
} as const;

interface Spec {
  readonly type?: string;
  readonly loadBalancerClass?: string;
  readonly loadBalancerIP?: string;
  readonly ipFamilies?: readonly string[];
  readonly ipFamilyPolicy?: string;
  readonly ports?: readonly { readonly protocol?: string; readonly port: number }[];
}

/** Undefined for a Service that is none of ours: of another type, or of another class. */
export function balancerFacts(object: KubernetesObject, ourClass: string): BalancerFacts | undefined {
  const { metadata } = object;
  const spec = (object.spec ?? {}) as Spec;
  if (spec.type !== "LoadBalancer" || (spec.loadBalancerClass ?? ourClass) !== ourClass) return undefined;
  const { loadBalancer } = (object.status ?? {}) as { loadBalancer?: { ingress?: { ip?: string }[] } };
  const said = (names: readonly string[]) =>
    names.map((name) => metadata.annotations?.[name]).find((text) => text !== undefined);
  const asked = listIn(said(ANNOTATIONS.asked));
  return {
    name: `${metadata.namespace}/${metadata.name}`,
    ...{ version: metadata.resourceVersion, uid: metadata.uid, created: metadata.creationTimestamp ?? "" },
    families: (spec.ipFamilies ?? ["IPv4"]).map((family) => (family === "IPv6" ? 6 : 4)),
    isSecondOptional: spec.ipFamilyPolicy !== "RequireDualStack",
    asked: asked.length > 0 || !spec.loadBalancerIP ? asked : [spec.loadBalancerIP],
    pools: [...listIn(said(ANNOTATIONS.pools4)), ...listIn(said(ANNOTATIONS.pools6))],
    sharingKey: said(ANNOTATIONS.sharing),
    ports: (spec.ports ?? []).map(({ protocol = "TCP", port }) => `${protocol}/${port}`),
    current: (loadBalancer?.ingress ?? []).flatMap(({ ip }) => (ip ? [ip] : [])),
  };
}

/** A JSON list as Calico's annotations are, or words with commas. */
function listIn(text: string | undefined): string[] {
  if (!text) return [];
  try {
    const read: unknown = JSON.parse(text);
    if (Array.isArray(read)) return read.filter((one) => typeof one === "string");
  } catch {
    // words, then
  }
  return text.split(",").map((word) => word.trim());
}

export interface Balanced {
  readonly addresses: readonly string[];
  /** Why it has none, or not all. */
  readonly refused?: string;
}

interface Range {
  readonly name: string;
  readonly cidr: Prefix;
  readonly gives: boolean;
  readonly automatic: boolean;
}

/**
 * Which service has which address (pure). Who has one keeps it, then whoever asks for one by name gets it, then the others the
 * lowest that is free, the oldest service first: the truth is the services' own status, so that a restart, a new leader or a
 * lost datastore changes nothing.
 */
export function balance(
  services: readonly BalancerFacts[],
  pools: readonly IPPool[],
): ReadonlyMap<string, Balanced> {
  const ranges = pools
    .filter(({ spec }) => spec.allowedUses.includes("LoadBalancer"))
    .map(({ metadata, spec }) => ({
      ...{ name: metadata.name, cidr: parsePrefix(spec.cidr), gives: !spec.disabled },
      automatic: spec.assignmentMode === "Automatic",
    }));
  const used = new Uses();
  const sorted = services.toSorted((a, b) => compare(a.created, b.created) || compare(a.name, b.name));
  const held = new Map<string, Map<Family, string>>();
  const take = (service: BalancerFacts, family: Family, address: string) => {
    const own = held.get(service.name) ?? new Map<Family, string>();
    held.set(service.name, own.set(family, address));
    used.add(address, service);
  };
  for (const service of sorted)
    for (const [family, address] of kept(service, ranges))
      if (used.allows(address, service)) take(service, family, address);
  for (const isAsking of [true, false])
    for (const service of sorted.filter(({ asked }) => asked.length > 0 === isAsking))
      for (const family of service.families) {
        if (held.get(service.name)?.has(family)) continue;
        const address = find(service, family, ranges, used);
        if (address !== undefined) take(service, family, address);
      }
  return new Map(sorted.map((service) => [service.name, outcome(service, held.get(service.name), used)]));
}

/** What the service has and may keep. */
function kept(service: BalancerFacts, ranges: readonly Range[]): [Family, string][] {
  return service.current.flatMap((text): [Family, string][] => {
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
    const isIn = address && mine.some((range) => contains(range.cidr, address) && mayUse(service, range));
    return text && isIn && used.allows(text, service) ? text : undefined;
  }
  const named = mine.filter(
    (range) => mayUse(service, range) && (range.automatic || service.pools.length > 0),
  );
  const shared = service.sharingKey && used.sharedWith(service, named);
  return shared || named.map((range) => lowest(range.cidr, used)).find((one) => one !== undefined);
}

/** Looks at no more addresses than are in use. */
function lowest(cidr: Prefix, used: Uses): string | undefined {
  const size = prefixSize(cidr);
  for (let at = 0; BigInt(at) < size; at++) {
    const text = formatAddress(offset(cidr, at));
    if (!used.has(text)) return text;
  }
  return undefined;
}

function outcome(service: BalancerFacts, own: ReadonlyMap<Family, string> | undefined, used: Uses): Balanced {
  const addresses = service.families.flatMap((family) => own?.get(family) ?? []);
  const missing = service.families.filter((family) => !own?.has(family));
  const isWhole = missing.length === 0 || (addresses.length > 0 && service.isSecondOptional);
  if (isWhole) return { addresses };
  const why = missing.map((family) => {
    const asked = service.asked.find((text) => addressIn(text)?.family === family);
    if (asked)
      return `${asked} is ${used.has(asked) ? "another service's" : "in no pool for load balancers"}`;
    return `no pool for load balancers has a free IPv${family} address`;
  });
  return { addresses: service.isSecondOptional ? addresses : [], refused: why.join("; ") };
}

/** Who uses an address, by ports. */
class Uses {
  readonly #by = new Map<string, BalancerFacts[]>();

  add(address: string, service: BalancerFacts): void {
    this.#by.set(address, [...(this.#by.get(address) ?? []), service]);
  }

  has(address: string): boolean {
    return this.#by.has(address);
  }

  /** Free, or shared by agreement: one key, and no port twice. */
  allows(address: string, { sharingKey, ports }: BalancerFacts): boolean {
    return (this.#by.get(address) ?? []).every(
      (other) =>
        sharingKey !== undefined &&
        other.sharingKey === sharingKey &&
        !other.ports.some((port) => ports.includes(port)),
    );
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
