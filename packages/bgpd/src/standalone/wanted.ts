/** From the file to what the engine should do (pure). */
import { type BGPFilter, md5Password, secondsOf } from "@margay/api";
import type { FilterRule } from "@margay/bgp";
import { type Address, contains, type Family, formatAddress, type Prefix } from "@margay/net";
import { everything } from "../announcer.ts";
import type { Filters, ListenRange, Self, WantedPeer } from "../config.ts";
import type { Wanted } from "../engine.ts";
import { filtersOf, unsupported } from "../filters.ts";
import { termsOf } from "../terms.ts";
import { unnumbered } from "../unnumbered.ts";
import type { File, Neighbor } from "./schema.ts";

/** An address of this host with its subnet. */
export interface OwnAddress {
  readonly address: Address;
  readonly subnet: Prefix;
}

export interface WantedInputs {
  /** The host's addresses; those in the file take their place. */
  readonly interfaces: readonly OwnAddress[];
  /** What a file or a variable of the environment holds; undefined when it is not there. */
  readonly passwordIn?: (place: { readonly file?: string; readonly env?: string }) => string | undefined;
}

/** In no subnet. */
const nowhere: Address = { family: 6, bits: 0n };

export function wantedOf(file: File, { interfaces, passwordIn = () => undefined }: WantedInputs): Wanted {
  const own = file.local.addresses ?? interfaces;
  const self = selfOf(file, own);
  const scene: Scene = { file, own, self, passwordIn };
  const peers = file.neighbors.flatMap((n) => {
    const { address, interface: device } = n;
    if (address) return [[formatAddress(address), { ...peerOf(n, address, scene), address }] as const];
    if (n.listenRange || device === undefined) return [];
    const name = n.name ?? device;
    return [[`%${device}`, unnumbered({ ...peerOf(n, nowhere, scene), name, device })] as const];
  });
  const ranges = file.neighbors.flatMap((n): ListenRange[] => {
    const { listenRange: range, listenLimit: limit } = n;
    return range
      ? [{ range, limit, template: peerOf(n, { family: range.family, bits: range.bits }, scene) }]
      : [];
  });
  const discard = (["unreachable", "blackhole"] as const).find((type) => file.kernel[type]);
  return {
    self,
    peers: new Map(peers),
    ranges,
    origins: { blocks: file.networks, borrowed: [] },
    ...(discard ? { discard: { type: discard, networks: file.networks } } : {}),
    isExported: everything,
    exportKey: "all",
  };
}

function selfOf({ local, kernel, neighbors }: File, own: readonly OwnAddress[]): Self {
  const first = (family: Family) => {
    const found = own.find(({ address }) => address.family === family);
    return found ? [[family, found]] : [];
  };
  const clusterId = local.clusterId ?? (neighbors.some((n) => n.rrClient) ? local.routerId : undefined);
  return {
    node: formatAddress({ family: 4, bits: BigInt(local.routerId) }),
    as: local.as,
    bgpId: local.routerId,
    ...(clusterId === undefined ? {} : { clusterId }),
    addresses: Object.fromEntries([...first(4), ...first(6)]),
    listenPort: local.listenPort,
    bindNodeAddress: false,
    ...(local.listenAddresses ? { listenAddresses: local.listenAddresses } : {}),
    metric: { 4: kernel.metric, 6: kernel.metric },
  };
}

interface Scene {
  readonly file: File;
  readonly own: readonly OwnAddress[];
  readonly self: Self;
  readonly passwordIn: NonNullable<WantedInputs["passwordIn"]>;
}

/** `address`: the peer's, or one of the network that it will come from. */
function peerOf(
  neighbor: Neighbor,
  address: Address,
  { file, own, self, passwordIn }: Scene,
): Omit<WantedPeer, "address"> {
  const localAddress = neighbor.sourceAddress ?? own.find(({ subnet }) => contains(subnet, address))?.address;
  const localAs = neighbor.localAs ?? self.as;
  const external = localAs !== neighbor.as;
  const { filters, warnings } = policyOf(neighbor, { file, external });
  return {
    name: neighbor.name ?? formatAddress(address),
    type: "global",
    port: neighbor.port,
    ...(localAddress ? { localAddress } : {}),
    ...passwordOf(neighbor, passwordIn),
    ...(neighbor.ttlSecurity === undefined ? {} : { ttlSecurityHops: neighbor.ttlSecurity }),
    ...(neighbor.reachableBy ? { reachableBy: neighbor.reachableBy } : {}),
    ...{ localAs, peerAs: neighbor.as, client: neighbor.rrClient, nextHop: neighbor.nextHop },
    holdTimeSeconds: secondsOf(neighbor.holdTime ?? file.holdTime),
    restartTimeSeconds: neighbor.restartTime,
    allowedLocalAs: neighbor.allowedLocalAs,
    ...(filters ? { filters } : {}),
    ...termsOf({ ...neighbor, families: neighbor.families ?? file.families }),
    ...(warnings.length > 0 ? { warnings } : {}),
  };
}

/** Without the password that it should have the session stays down. */
function passwordOf(
  { password, passwordFile: file, passwordEnv: env }: Neighbor,
  passwordIn: Scene["passwordIn"],
): Pick<WantedPeer, "password" | "problem"> {
  if (password !== undefined) return { password };
  if (file === undefined && env === undefined) return {};
  const found = passwordIn({
    ...(file === undefined ? {} : { file }),
    ...(env === undefined ? {} : { env }),
  });
  const place = file === undefined ? `variable ${env}` : `file ${file}`;
  if (found === undefined) return { problem: `its password: there is none in ${place}` };
  return md5Password.safeParse(found).success
    ? { password: found }
    : { problem: `its password: that of ${place} is longer than 80 bytes (Linux)` };
}

type Policy = NonNullable<Neighbor["import"]>;

/** No filters at all where everything passes: the fast way. */
function policyOf(neighbor: Neighbor, { file, external }: { file: File; external: boolean }) {
  const open = !external || file.ebgpPolicy === "accept-all";
  const absent: Policy = open ? "accept" : "reject";
  const chosen = {
    import: neighbor.import ?? (neighbor.importPolicy ? "accept" : absent),
    export: neighbor.export ?? (neighbor.exportPolicy ? "accept" : absent),
  };
  const rules = { import: rulesOf(chosen.import, file), export: rulesOf(chosen.export, file) };
  const warnings = [
    ...(neighbor.import || neighbor.importPolicy || open
      ? []
      : ["no import policy: nothing is accepted (RFC 8212)"]),
    ...(neighbor.export || neighbor.exportPolicy || open
      ? []
      : ["no export policy: nothing is announced (RFC 8212)"]),
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
