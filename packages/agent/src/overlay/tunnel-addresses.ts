import { evaluate, type IPPool, type Node, parseSelector } from "@margay/api";
import type { Ipam } from "@margay/ipam";
import { type Address, type Family, formatAddress, parsePrefix } from "@margay/net";
import { macOf } from "./wanted.ts";

export type TunnelAddresses = Readonly<Partial<Record<Family, Address>>>;

/** Calico's names, under which IPAM keeps them. */
const HANDLES: Readonly<Record<Family, string>> = { 4: "vxlan-tunnel-addr", 6: "vxlan-v6-tunnel-addr" };
export const handleOf = (family: Family, node: string): string => `${HANDLES[family]}-${node}`;

/** Whether a pool of the family is encapsulated: then every node needs a tunnel, to send there if not to be there. */
export const isTunnelled = (pools: readonly IPPool[], family: Family): boolean =>
  pools.some(({ spec }) => spec.vxlanMode !== "Never" && parsePrefix(spec.cidr).family === family);

export interface Request {
  readonly node: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly pools: readonly IPPool[];
  readonly now: Date;
}

/** The node's tunnel address of a family, always the same one as long as IPAM has it for us. Throws IpamError. */
export async function holdTunnelAddress(
  ipam: Pick<Ipam, "assign">,
  family: Family,
  { node, labels, pools, now }: Request,
): Promise<Address | undefined> {
  const named = poolsFor(family, pools, labels);
  const [held] = await ipam.assign({
    ...{
      handle: handleOf(family, node),
      families: [family],
      use: "Tunnel",
      ...(named.length > 0 && { pools: { [family]: named } }),
    },
    attributes: { node, type: "vxlanTunnelAddress", timestamp: now.toISOString() },
  });
  return held?.address;
}

/** Encapsulated ones first: a host's packets then come back by the way they went. None: any pool for tunnels. */
function poolsFor(family: Family, pools: readonly IPPool[], labels: Request["labels"]): string[] {
  return pools
    .filter(
      ({ spec }) =>
        !spec.disabled &&
        spec.vxlanMode !== "Never" &&
        spec.allowedUses.includes("Tunnel") &&
        parsePrefix(spec.cidr).family === family &&
        evaluate(parseSelector(spec.nodeSelector), labels),
    )
    .map(({ metadata }) => metadata.name);
}

/** The Node resource that tells the others of our tunnels; undefined when it does already (pure but for a hash). */
export function published(node: Node, tunnels: TunnelAddresses): Node | undefined {
  const { name } = node.metadata;
  const text = (family: Family) => tunnels[family] && formatAddress(tunnels[family]);
  const mac = (family: Family) => tunnels[family] && macOf(name, family);
  const told = {
    ipv4VXLANTunnelAddr: text(4),
    vxlanTunnelMACAddr: mac(4),
    ipv6VXLANTunnelAddr: text(6),
    vxlanTunnelMACAddrV6: mac(6),
  };
  const keys = Object.keys(told) as (keyof typeof told)[];
  if (keys.every((key) => node.spec[key] === told[key])) return undefined;
  const { ipv4VXLANTunnelAddr, ipv6VXLANTunnelAddr, vxlanTunnelMACAddr, vxlanTunnelMACAddrV6, ...spec } =
    node.spec;
  const fields = Object.entries(told).filter(([, value]) => value !== undefined);
  return { ...node, spec: { ...spec, ...Object.fromEntries(fields) } };
}
