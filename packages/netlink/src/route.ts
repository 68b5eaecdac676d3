import { type Address, formatAddress, formatPrefix, type Prefix, sameAddress, samePrefix } from "@margay/net";

/** RTN_*: what happens to a packet that the route matches. */
export const routeTypes = {
  unicast: 1,
  local: 2,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
  throw: 9,
} as const;
export const routeScopes = { global: 0, link: 253, host: 254 } as const;
export const mainTable = 254;

export interface Nexthop {
  readonly via?: Address;
  /** Interface name. */
  readonly dev?: string;
  /** The gateway is reachable although no prefix of the interface holds it. */
  readonly onlink?: boolean;
  /** Share among equal-cost nexthops, 1 to 256; 1 when absent. */
  readonly weight?: number;
}

/** One route; with several nexthops it is ECMP. A blackhole, unreachable, prohibit or throw route has none. */
export interface Route {
  readonly dst: Prefix;
  /** 254, the main table, when absent. */
  readonly table?: number;
  /** Who made it (RTPROT_*): our mark. */
  readonly protocol: number;
  readonly type: keyof typeof routeTypes;
  /** When absent: link for unicast without gateway, host for local, else global. IPv6 has none. */
  readonly scope?: keyof typeof routeScopes;
  /** 0 when absent (IPv4); IPv6 turns 0 into 1024. Lower wins. */
  readonly metric?: number;
  /** Preferred source address of locally made packets. */
  readonly source?: Address;
  readonly nexthops: readonly Nexthop[];
  /** The nexthop object that it leans on in the kernel, which says the same as `nexthops`: how it is written, not what it is. */
  readonly nhid?: number;
}

export const tableOf = (r: Route): number => r.table ?? mainTable;
/** The kernel's metric: IPv6 has no 0 (IP6_RT_PRIO_USER). */
export const metricOf = (r: Route): number => r.metric || (r.dst.family === 6 ? 1024 : 0);

/** RT_SCOPE_*, by ip(8)'s rules where the route does not say. */
export function scopeOf(r: Route): number {
  if (r.dst.family === 6) return routeScopes.global;
  if (r.scope) return routeScopes[r.scope];
  if (r.type === "local") return routeScopes.host;
  return r.type === "unicast" && r.nexthops.every((n) => !n.via) ? routeScopes.link : routeScopes.global;
}

/** `ip route`'s words: "10.244.1.0/26 via 172.20.0.12 dev eth0 metric 5". */
export function formatRoute(r: Route): string {
  const type = r.type === "unicast" ? [] : [r.type];
  const several = r.nexthops.length > 1 ? ["nexthop"] : [];
  const hops = r.nexthops.flatMap((n) => [...several, ...formatNexthop(n)]);
  const source = r.source ? ["src", formatAddress(r.source)] : [];
  const table = tableOf(r) === mainTable ? [] : ["table", `${r.table}`];
  const metric = r.metric ? ["metric", `${r.metric}`] : [];
  return [...type, formatPrefix(r.dst), ...hops, ...source, ...table, ...metric].join(" ");
}

/** "via 172.20.0.12 dev eth0 weight 3", in words. */
export function formatNexthop(n: Nexthop): string[] {
  const via = n.via ? ["via", formatAddress(n.via)] : [];
  const dev = n.dev ? ["dev", n.dev] : [];
  const weight = n.weight && n.weight > 1 ? ["weight", `${n.weight}`] : [];
  return [...via, ...dev, ...weight, ...(n.onlink ? ["onlink"] : [])];
}

/** Whether the kernel would treat both alike: defaults spelt out, nexthops in any order. */
export const sameRoute = (a: Route, b: Route): boolean =>
  sameButNexthops(a, b) && sameNexthops(a.nexthops, b.nexthops);

/** Whether nothing but the next hops can differ. */
export function sameButNexthops(a: Route, b: Route): boolean {
  return (
    samePrefix(a.dst, b.dst) &&
    a.type === b.type &&
    a.protocol === b.protocol &&
    tableOf(a) === tableOf(b) &&
    metricOf(a) === metricOf(b) &&
    scopeOf(a) === scopeOf(b) &&
    sameOrNone(a.source, b.source)
  );
}

const sameOrNone = (a: Address | undefined, b: Address | undefined): boolean =>
  a && b ? sameAddress(a, b) : a === b;

function sameNexthops(a: readonly Nexthop[], b: readonly Nexthop[]): boolean {
  const [one, other] = [a[0], b[0]];
  if (a.length !== b.length) return false;
  if (a.length === 1 && one && other) return sameNexthop(one, other);
  return a.every((n) => b.some((m) => sameNexthop(n, m))) && b.every((n) => a.some((m) => sameNexthop(n, m)));
}

const sameNexthop = (a: Nexthop, b: Nexthop): boolean =>
  a.dev === b.dev &&
  sameOrNone(a.via, b.via) &&
  (a.onlink ?? false) === (b.onlink ?? false) &&
  (a.weight ?? 1) === (b.weight ?? 1);
