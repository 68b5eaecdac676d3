import {
  type AnyResource,
  type EndpointSlice,
  effective,
  type FelixConfiguration,
  type Node,
  parseKey,
  type Service,
  type WorkloadEndpoint,
} from "@margay/api";
import {
  type Address,
  type Family,
  formatAddress,
  type Prefix,
  parseAddress,
  parsePrefix,
} from "@margay/net";
import type { Update } from "./calc.ts";
import { FloatingTable, floatingClaim } from "./floating.ts";
import type { Pool } from "./model.ts";
import { type OwnedBlock, ownedBlocks, type ReachableNode, type Tunnel } from "./reach.ts";
import { hostOf, readPool } from "./resources.ts";

/** One interface of a pod, wherever it runs. */
export interface SurveyedPod {
  /** `<namespace>/<name>` of the WorkloadEndpoint. */
  readonly id: string;
  /** `<namespace>/<pod>`. */
  readonly pod: string;
  readonly node: string;
  readonly interfaceName: string;
  readonly addresses: readonly Address[];
}

export interface SurveyedPool extends Pool {
  /** Whether its blocks are announced by BGP. */
  readonly isExported: boolean;
}

/** Who has which address in the cluster, and where: what `explain` needs besides the state of single nodes. */
export interface Survey {
  /** What it was made of, for the `Calc` of any node. */
  readonly updates: readonly Update[];
  readonly pods: readonly SurveyedPod[];
  readonly nodes: readonly ReachableNode[];
  /** Confirmed ones. */
  readonly blocks: readonly OwnedBlock[];
  readonly pools: readonly SurveyedPool[];
  readonly configurations: readonly FelixConfiguration[];
  readonly services: readonly Service[];
  readonly slices: readonly EndpointSlice[];
  /** By the floating address's text: whose it is, and the address that it stands for. */
  readonly floating: ReadonlyMap<string, { readonly pod: SurveyedPod; readonly internal: Address }>;
}

/** Reads a cluster from the values of its keys. Of equal keys the last counts; what has no value, or none that can be read, is left out. */
export function survey(updates: readonly Update[]): Survey {
  const latest = new Map(updates.map(({ key, value }) => [key, value]));
  const all = [...latest].flatMap(([key, value]) => (value && parseKey(key) ? [value] : []));
  const of = <K extends AnyResource["kind"]>(kind: K) =>
    all.filter((value): value is Extract<AnyResource, { kind: K }> => value.kind === kind);
  const configurations = of("FelixConfiguration");
  return {
    updates,
    pods: of("WorkloadEndpoint").map(readPod),
    nodes: of("Node").map(readReachable),
    blocks: ownedBlocks(of("BlockAffinity")),
    pools: of("IPPool").map((pool) => ({ ...readPool(pool), isExported: !pool.spec.disableBGPExport })),
    configurations,
    services: of("Service"),
    slices: of("EndpointSlice"),
    floating: floatingOf(of("WorkloadEndpoint"), configurations),
  };
}

function floatingOf(
  endpoints: readonly WorkloadEndpoint[],
  configurations: readonly FelixConfiguration[],
): Survey["floating"] {
  const asking = endpoints.filter(({ spec }) => spec.ipNATs?.length);
  const table = new FloatingTable();
  for (const one of asking) table.set(readPod(one).id, floatingClaim(one));
  const enabled = asking
    .map(readPod)
    .filter(({ node }) => effective("FelixConfiguration", configurations, node).floatingIPs === "Enabled");
  return new Map(
    enabled.flatMap((pod) =>
      (table.of(pod.id).floating ?? []).map(({ external, internal }) => [
        formatAddress(external),
        { pod, internal },
      ]),
    ),
  );
}

const readPod = ({ metadata, spec }: WorkloadEndpoint): SurveyedPod => ({
  id: `${metadata.namespace}/${metadata.name}`,
  pod: `${metadata.namespace}/${spec.pod ?? metadata.name}`,
  node: spec.node,
  interfaceName: spec.interfaceName,
  addresses: spec.ipNetworks.map(hostOf),
});

/** A node's addresses with their subnets; an address without one is its own. */
export function readReachable({ metadata, spec }: Node): ReachableNode {
  const texts = [
    ...(spec.addresses ?? []).map(({ address }) => address),
    spec.bgp?.ipv6Address, // the last of equals wins: these have their subnet
    spec.bgp?.ipv4Address,
  ];
  const unique = new Map(texts.flatMap((text) => (text === undefined ? [] : [[hostText(text), text]])));
  return {
    name: metadata.name,
    addresses: [...unique].map(([address, text]) => ({
      address: parseAddress(address),
      subnet: subnetOf(text),
    })),
    tunnels: {
      ...tunnelOf(spec.ipv4VXLANTunnelAddr, spec.vxlanTunnelMACAddr, 4),
      ...tunnelOf(spec.ipv6VXLANTunnelAddr, spec.vxlanTunnelMACAddrV6, 6),
    },
  };
}

const tunnelOf = (
  address: string | undefined,
  mac: string | undefined,
  family: Family,
): Partial<Record<Family, Tunnel>> =>
  address !== undefined && mac !== undefined
    ? { [family]: { address: parseAddress(address), mac: mac.toLowerCase() } }
    : {};

const hostText = (text: string): string => text.split("/")[0] ?? text;
const subnetOf = (text: string): Prefix => parsePrefix(text, { mask: true });
