export const FABRIC = { ipv4: "172.20.0.1/24", ipv6: "fd00:172:20::1/64", bridge: "fabric" } as const;
export const TOR = { name: "tor", as: 65000, ipv4: "172.20.0.2/24", ipv6: "fd00:172:20::2/64" } as const;

/** The address of a host in one of the lab's subnets, 0 to 9, with its length; the subnets' router is the fabric, host 1. */
export const placeIn = (subnet: number, host: number) => ({
  ipv4: `172.20.${subnet}.${host}/24`,
  ipv6: `fd00:172:20${subnet === 0 ? "" : `:${subnet}`}::${host}/64`,
});
/** Every subnet of the lab. */
export const FABRIC_RANGE = { ipv4: "172.20.0.0/16", ipv6: "fd00:172:20::/48" } as const;
/** Addresses behind the ToR that it announces to the nodes: the outside world. */
export const OUTSIDE = { ipv4: "198.51.100.1/32", ipv6: "2001:db8:100::1/128" } as const;
export const NODE_AS = 64512;

export interface LabNode {
  readonly name: string;
  /** With prefix length, as in `Node.spec.bgp`. */
  readonly ipv4: string;
  readonly ipv6: string;
  readonly reflector: boolean;
  /** 0 unless the lab has several. */
  readonly subnet?: number;
}

/** "172.20.0.2/24" -> "172.20.0.2". */
export const bare = (withLength: string): string => withLength.replace(/\/\d+$/, "");

/** Where the unix sockets of a node's daemons are. */
export const runDir = (node: string): string => `/run/margay/${node}`;
