import type { LocalEndpoint, NodeState } from "@margay/calc";
import { type Address, formatPrefix, hostPrefix, type Prefix, parseAddress, width } from "@margay/net";
import type { Route } from "@margay/netlink";

/** The agent's mark on its kernel routes. */
export const ROUTE_PROTOCOL = 142;

/** What can be programmed now depends on which interfaces are there. */
export type IsUp = (interfaceName: string) => boolean;

/** Why an endpoint's interface is not ours to touch: policy looks at interfaces of the configured prefixes only. */
export function notOurs({ interfaceName }: LocalEndpoint, config: NodeState["config"]): string | undefined {
  const prefixes = config.interfacePrefix.split(",");
  if (prefixes.some((prefix) => interfaceName.startsWith(prefix))) return undefined;
  return `interface ${interfaceName} does not begin with ${prefixes.join(" or ")} (FelixConfiguration.interfacePrefix)`;
}

const programmable = ({ endpoints, config }: NodeState, isUp: IsUp): LocalEndpoint[] =>
  endpoints.filter((endpoint) => isUp(endpoint.interfaceName) && notOurs(endpoint, config) === undefined);

/**
 * The routes of a node, by destination: `<pod>/32 dev cali...` for each address of an endpoint whose interface is up, and
 * `blackhole <block>` for each own block, so that packets to addresses nobody has do not loop. A block of a single
 * address needs none: its pod's route is the same one.
 */
export function wantedRoutes(state: NodeState, isUp: IsUp): Map<string, Route> {
  const isOn = ({ family }: { family: 4 | 6 }) => family === 4 || state.config.ipv6Support;
  const blocks = state.blocks.filter((block) => isOn(block) && block.length < width(block.family));
  const workloads = programmable(state, isUp).flatMap((endpoint) =>
    endpoint.addresses.filter(isOn).map((a) => workload(endpoint, a, state.config)),
  );
  return new Map([...blocks.map(blackhole), ...workloads].map((r) => [formatPrefix(r.dst), r]));
}

const blackhole = (dst: Prefix): Route => ({
  dst,
  protocol: ROUTE_PROTOCOL,
  type: "blackhole",
  nexthops: [],
});

function workload({ interfaceName }: LocalEndpoint, address: Address, config: NodeState["config"]): Route {
  const { deviceRouteSourceAddress, deviceRouteSourceAddressIPv6 } = config;
  const source = address.family === 4 ? deviceRouteSourceAddress : deviceRouteSourceAddressIPv6;
  return {
    dst: hostPrefix(address),
    protocol: ROUTE_PROTOCOL,
    type: "unicast",
    nexthops: [{ dev: interfaceName }],
    ...(source !== undefined && { source: parseAddress(source) }),
  };
}

/**
 * Kernel settings by name: forwarding on the node, and for each workload's interface what makes it a gateway of one
 * address. Nothing else global is touched.
 */
export function wantedSysctls(state: NodeState, isUp: IsUp): Map<string, string> {
  const { ipForwarding, ipv6Support } = state.config;
  const wanted = new Map<string, string>();
  if (ipForwarding === "Enabled") {
    wanted.set("net.ipv4.ip_forward", "1");
    if (ipv6Support) wanted.set("net.ipv6.conf.all.forwarding", "1");
  }
  for (const endpoint of programmable(state, isUp)) {
    for (const [name, value] of interfaceSysctls(endpoint)) wanted.set(name, value);
    if (ipv6Support) for (const [name, value] of interfaceSysctls6(endpoint)) wanted.set(name, value);
  }
  return wanted;
}

/** sysctl's spelling of an interface name: its dots are slashes. */
const spelled = (interfaceName: string): string => interfaceName.replaceAll(".", "/");

function interfaceSysctls({ interfaceName, spoofable }: LocalEndpoint): [string, string][] {
  const name = spelled(interfaceName);
  return [
    [`net.ipv4.conf.${name}.forwarding`, "1"],
    [`net.ipv4.conf.${name}.proxy_arp`, "1"], // 169.254.1.1 is nobody's address: the kernel answers for it
    [`net.ipv4.neigh.${name}.proxy_delay`, "0"],
    // Strict, or, where other sources are allowed, loose: the kernel takes the larger of this and conf.all.
    [`net.ipv4.conf.${name}.rp_filter`, spoofable.length === 0 ? "1" : "2"],
  ];
}

function interfaceSysctls6({ interfaceName }: LocalEndpoint): [string, string][] {
  const name = spelled(interfaceName);
  return [
    [`net.ipv6.conf.${name}.disable_ipv6`, "0"],
    [`net.ipv6.conf.${name}.forwarding`, "1"],
    [`net.ipv6.conf.${name}.accept_ra`, "0"], // a workload is no router
    [`net.ipv6.conf.${name}.accept_dad`, "0"],
    [`net.ipv6.conf.${name}.proxy_ndp`, "1"],
  ];
}
