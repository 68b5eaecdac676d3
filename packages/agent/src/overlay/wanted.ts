import { createHash } from "node:crypto";
import type { FelixSettings } from "@margay/api";
import { type ReachableNode, type Reached, type Tunnel, addressOf as underlayAddress } from "@margay/calc";
import { type Address, contains, type Family, formatAddress, formatPrefix, type Prefix } from "@margay/net";
import type { Forwarding, Route, VxlanSettings } from "@margay/netlink";
import { ROUTE_PROTOCOL } from "../wanted.ts";

/** Of each family, as an outer header carries only its own. */
export const DEVICES: Readonly<Record<Family, string>> = { 4: "vxlan.margay", 6: "vxlan-v6.margay" };

/** Bytes that VXLAN adds: outer IP and UDP headers, VXLAN's own and the inner Ethernet header (RFC 7348 §5). */
export const OVERHEAD: Readonly<Record<Family, number>> = { 4: 50, 6: 70 };

/** IPv6 needs it everywhere (RFC 8200 §5). */
const LEAST_MTU = 1280;

/** One of our VXLAN devices. */
export interface Device {
  readonly settings: VxlanSettings;
  readonly mtu: number;
  readonly mac: string;
  /** The tunnel's, alone. */
  readonly address: Address;
  /** Whether what is below fills in the checksums of what is sent through it. */
  readonly offloads: boolean;
}

/** A permanent ARP or NDP entry. */
export interface Neighbouring {
  readonly address: Address;
  readonly mac: string;
}

type On<T> = T & { readonly dev: string };

/** All that takes packets to other nodes, each by its key. */
export interface WantedOverlay {
  readonly devices: ReadonlyMap<string, Device>;
  readonly forwarding: ReadonlyMap<string, On<Forwarding>>;
  readonly neighbours: ReadonlyMap<string, On<Neighbouring>>;
  readonly routes: ReadonlyMap<string, Route>;
}

/** What the node's kernel has: its own addresses, and where. */
export interface Ground {
  readonly dev: string;
  /** By which its packets leave, as long as this may be (bytes); undefined while there is none. */
  readonly way: { readonly name: string; readonly mtu: number } | undefined;
  readonly address: Address;
  readonly subnet: Prefix;
}

export interface OverlayInputs {
  readonly node: string;
  readonly self: ReachableNode | undefined;
  readonly reached: readonly Reached[];
  /** This node's tunnel addresses, of the families that have a tunnel. */
  readonly tunnels: Readonly<Partial<Record<Family, Address>>>;
  readonly config: FelixSettings;
  readonly ground: readonly Ground[];
}

/** The desired state, whole (pure but for a hash). */
export function wantedOverlay(inputs: OverlayInputs): WantedOverlay {
  const ours = inputs.reached.filter(({ daemon, block }) => daemon === "agent" && isOn(block, inputs));
  const far = ours.flatMap(({ tunnel, via }) => (tunnel && via ? [{ tunnel, to: via }] : []));
  const devOf = ({ address }: Tunnel) => DEVICES[address.family];
  return {
    devices: new Map(([4, 6] as const).flatMap((family) => deviceOf(family, inputs))),
    forwarding: new Map(
      far.map(({ tunnel, to }) => {
        const [dev, { mac }] = [devOf(tunnel), tunnel];
        return [`${dev} ${mac}`, { dev, mac, to }];
      }),
    ),
    neighbours: new Map(
      far.map(({ tunnel }) => {
        const [dev, address, { mac }] = [devOf(tunnel), gatewayOf(tunnel), tunnel];
        return [`${dev} ${formatAddress(address)}`, { dev, address, mac }];
      }),
    ),
    routes: new Map(ours.flatMap((reached) => routeOf(reached, inputs))),
  };
}

const isOn = ({ family }: { family: Family }, { config }: OverlayInputs): boolean =>
  family === 4 || config.ipv6Support;

function deviceOf(family: Family, inputs: OverlayInputs): [string, Device][] {
  const { node, self, tunnels, config, ground } = inputs;
  const [address, local] = [tunnels[family], underlayAddress(self, family)];
  if (!address || !local || !isOn({ family }, inputs)) return [];
  const settings = { id: config.vxlanVNI, port: config.vxlanPort, local, learning: false };
  const device = {
    settings,
    address,
    offloads: !isOffloadBroken(config),
    mac: macOf(node, family),
    mtu: mtuOf({ family, local, config, ground }),
  };
  return [[DEVICES[family], device]];
}

/** Some cards and hypervisors fill in wrong checksums inside VXLAN; felix's word for it. */
const isOffloadBroken = ({ featureDetectOverride }: FelixSettings): boolean =>
  /(^|,)\s*ChecksumOffloadBroken=true\s*(,|$)/i.test(featureDetectOverride ?? "");

/** Calico's: a node keeps it for life, so that nobody has to learn it anew. */
export function macOf(node: string, family: Family): string {
  const hash = createHash("sha1")
    .update(family === 4 ? node : `${node}-v6`)
    .digest("hex");
  return `66${hash.slice(0, 10)}`.replace(/..(?=.)/g, "$&:");
}

interface Measured {
  readonly family: Family;
  /** The node's own address. */
  readonly local: Address | undefined;
  readonly config: Pick<FelixSettings, "vxlanMTU" | "vxlanMTUV6">;
  readonly ground: readonly Ground[];
}

/** Bytes that fit into the tunnel: what is configured, else the uplink's less what the tunnel adds. */
export function mtuOf({ family, local, config, ground }: Measured): number {
  const configured = family === 4 ? config.vxlanMTU : config.vxlanMTUV6;
  if (configured > 0) return configured;
  const uplink = ground.find(
    ({ address }) => local && address.bits === local.bits && address.family === family,
  );
  return Math.max(LEAST_MTU, (uplink?.way?.mtu ?? 1500) - OVERHEAD[family]);
}

/** One better than BGP's, so that neither is in the other's place while one takes over from the other. */
const metricOf = (family: Family, config: FelixSettings): number =>
  Math.max(1, (family === 4 ? config.ipv4NormalRoutePriority : config.ipv6NormalRoutePriority) - 1);

function routeOf(
  { block, via, tunnel }: Reached,
  { config, ground, tunnels }: OverlayInputs,
): [string, Route][] {
  const { family } = block;
  const nexthop = tunnel
    ? tunnels[family] && {
        via: gatewayOf(tunnel),
        dev: DEVICES[family],
        ...(family === 4 && { onlink: true }),
      }
    : via && onGround(via, ground);
  if (!nexthop) return [];
  const metric = metricOf(family, config);
  return [
    [
      formatPrefix(block),
      { dst: block, protocol: ROUTE_PROTOCOL, type: "unicast", metric, nexthops: [nexthop] },
    ],
  ];
}

/**
 * What a route through the tunnel names, only to find the far end's MAC. IPv6 refuses a gateway that some other route
 * leads to elsewhere (the block's own by BGP, while one takes over from the other), so there it is the link-local address
 * that the MAC stands for (RFC 4291 appendix A).
 */
function gatewayOf({ address, mac }: Tunnel): Address {
  if (address.family === 4) return address;
  const bytes = mac.split(":").map((part) => BigInt(`0x${part}`));
  const [first = 0n, second = 0n, third = 0n, ...rest] = bytes;
  const identifier = [first ^ 2n, second, third, 0xffn, 0xfen, ...rest];
  return { family: 6, bits: identifier.reduce((bits, byte) => (bits << 8n) | byte, 0xfe80n << 48n) };
}

function onGround(via: Address, ground: readonly Ground[]) {
  const dev = ground.find(({ subnet }) => contains(subnet, via))?.dev;
  return dev === undefined ? undefined : { via, dev };
}

/** Routes to pods have no gateway; those to other nodes have one: two owners within one protocol number. */
export const isToNode = ({ nexthops }: Route): boolean => nexthops.some(({ via }) => via !== undefined);
