/** From the file to what the engine should do (pure). */
import type { BGPFilter } from "@margay/api";
import type { FilterRule, PrefixLimit } from "@margay/bgp";
import { type Address, contains, type Family, formatAddress, type Prefix } from "@margay/net";
import { everything } from "../announcer.ts";
import type { Filters, Self, WantedPeer } from "../config.ts";
import type { Wanted } from "../engine.ts";
import { filtersOf, unsupported } from "../filters.ts";
import type { File, Neighbor } from "./schema.ts";

/** An address of this host with its subnet. */
export interface OwnAddress {
  readonly address: Address;
  readonly subnet: Prefix;
}

/** `interfaces` are the host's addresses; those in the file take their place. */
export function wantedOf(file: File, interfaces: readonly OwnAddress[]): Wanted {
  const own = file.local.addresses ?? interfaces;
  const self = selfOf(file, own);
  const peers = file.neighbors.map(
    (n) => [formatAddress(n.address), peerOf(n, { file, own, self })] as const,
  );
  return {
    self,
    peers: new Map(peers),
    origins: { blocks: file.networks, borrowed: [] },
    isExported: everything,
    exportKey: "all",
  };
}

const number = { ipv4: 4, ipv6: 6 } as const satisfies Record<string, Family>;

function selfOf({ local, kernel, neighbors }: File, own: readonly OwnAddress[]): Self {
  const first = (family: Family) => {
    const found = own.find(({ address }) => address.family === family);
    return found ? [[family, found]] : [];
  };
  const clusterId =
    local["cluster-id"] ?? (neighbors.some((n) => n["rr-client"]) ? local["router-id"] : undefined);
  return {
    node: formatAddress({ family: 4, bits: BigInt(local["router-id"]) }),
    as: local.as,
    bgpId: local["router-id"],
    ...(clusterId === undefined ? {} : { clusterId }),
    addresses: Object.fromEntries([...first(4), ...first(6)]),
    listenPort: local["listen-port"],
    bindNodeAddress: false,
    ...(local["listen-addresses"] ? { listenAddresses: local["listen-addresses"] } : {}),
    metric: { 4: kernel.metric, 6: kernel.metric },
  };
}

interface Scene {
  readonly file: File;
  readonly own: readonly OwnAddress[];
  readonly self: Self;
}

function peerOf(neighbor: Neighbor, { file, own, self }: Scene): WantedPeer {
  const { address } = neighbor;
  const localAddress =
    neighbor["source-address"] ?? own.find(({ subnet }) => contains(subnet, address))?.address;
  const localAs = neighbor["local-as"] ?? self.as;
  const external = localAs !== neighbor.as;
  const { filters, warnings } = policyOf(neighbor, { file, external });
  return {
    name: neighbor.name ?? formatAddress(address),
    type: "global",
    address,
    port: neighbor.port,
    ...(localAddress ? { localAddress } : {}),
    ...(neighbor.password === undefined ? {} : { password: neighbor.password }),
    ...(neighbor["ttl-security"] === undefined ? {} : { ttlSecurityHops: neighbor["ttl-security"] }),
    ...(neighbor.interface === undefined ? {} : { device: neighbor.interface }),
    ...{ localAs, peerAs: neighbor.as, passive: neighbor.passive },
    families: (neighbor.families ?? file.families).map((f) => number[f]),
    client: neighbor["rr-client"],
    nextHop: neighbor["next-hop"],
    holdTimeSeconds: neighbor["hold-time"] ?? file["hold-time"],
    restartTimeSeconds: neighbor["restart-time"],
    allowedLocalAs: neighbor["allowed-local-as"],
    ...(filters ? { filters } : {}),
    ...termsOf(neighbor),
    ...(warnings.length > 0 ? { warnings } : {}),
  };
}

/** Nothing where nothing is wanted, so that peers that are told the same share an update group. */
function termsOf(neighbor: Neighbor): Pick<WantedPeer, "sessionTerms" | "policyTerms"> {
  const { role, "max-prefixes": limits, "remove-private-as": removePrivateAs } = neighbor;
  const sessionTerms = {
    ...(role ? { role } : {}),
    ...(neighbor["role-required"] ? { roleRequired: true } : {}),
    ...(neighbor["extended-next-hop"] ? { extendedNextHop: true } : {}),
  };
  const policyTerms = {
    ...(limits ? { prefixLimits: { ...limitOf(4, limits.ipv4), ...limitOf(6, limits.ipv6) } } : {}),
    ...(removePrivateAs ? { removePrivateAs } : {}),
    ...(neighbor["enforce-first-as"] ? { enforceFirstAs: true } : {}),
  };
  return {
    ...(Object.keys(sessionTerms).length > 0 ? { sessionTerms } : {}),
    ...(Object.keys(policyTerms).length > 0 ? { policyTerms } : {}),
  };
}

function limitOf(
  family: Family,
  limit: NonNullable<Neighbor["max-prefixes"]>["ipv4"],
): Partial<Record<Family, PrefixLimit>> {
  if (!limit) return {};
  const { max, "warn-percent": warnPercent, "restart-after": restartSeconds } = limit;
  const restart = restartSeconds === undefined ? {} : { restartSeconds };
  return { [family]: { max, warnPercent, exceeded: limit["warn-only"] ? "warn" : restart } };
}

type Policy = NonNullable<Neighbor["import"]>;

/** No filters at all where everything passes: the fast way. */
function policyOf(neighbor: Neighbor, { file, external }: { file: File; external: boolean }) {
  const open = !external || file["ebgp-policy"] === "accept-all";
  const absent: Policy = open ? "accept" : "reject";
  const chosen = { import: neighbor.import ?? absent, export: neighbor.export ?? absent };
  const rules = { import: rulesOf(chosen.import, file), export: rulesOf(chosen.export, file) };
  const warnings = [
    ...(neighbor.import || open ? [] : ["no import policy: nothing is accepted (RFC 8212)"]),
    ...(neighbor.export || open ? [] : ["no export policy: nothing is announced (RFC 8212)"]),
    ...new Set([...unsupported(named(chosen.import, file)), ...unsupported(named(chosen.export, file))]),
  ];
  const filters: Filters = {
    import: { 4: rules.import.import[4], 6: rules.import.import[6] },
    export: { 4: rules.export.export[4], 6: rules.export.export[6] },
  };
  const isOpen = chosen.import === "accept" && chosen.export === "accept";
  return { warnings, filters: isOpen ? undefined : filters };
}

function rulesOf(policy: Policy, file: File): Filters {
  const last: FilterRule[] =
    (typeof policy === "string" ? policy : policy.otherwise) === "accept" ? [] : [{ action: "reject" }];
  const found = filtersOf(named(policy, file));
  const both = (d: "import" | "export") => ({ 4: [...found[d][4], ...last], 6: [...found[d][6], ...last] });
  return { import: both("import"), export: both("export") };
}

const named = (policy: Policy, { filters }: File): BGPFilter[] =>
  (typeof policy === "string" ? [] : policy.filters).flatMap((name) => {
    const spec = filters[name];
    return spec ? [{ apiVersion: "margay.dev/v1", kind: "BGPFilter", metadata: { name }, spec }] : [];
  });
