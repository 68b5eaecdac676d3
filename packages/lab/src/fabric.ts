import { must } from "./exec.ts";
import { bare, FABRIC, FABRIC_RANGE, type LabNode, OUTSIDE, placeIn, TOR } from "./places.ts";

/** Where the lab's network namespaces are named, in its private /run: `ip -n NAME` and `ip netns exec` work. */
export const NAMESPACES = "/run/netns";
export const namespacePath = (name: string): string => `${NAMESPACES}/${name}`;

/**
 * The cables: a bridge in the supervisor's namespace, and a namespace for each node and the ToR with its eth0 on it.
 * Made with iproute2, not with the code under test.
 */
export async function layCables(nodes: readonly LabNode[]): Promise<void> {
  const { bridge, ipv4, ipv6 } = FABRIC;
  await must(withoutDad);
  await ip(undefined, [
    "link set lo up",
    `link add ${bridge} type bridge mcast_snooping 0`,
    `link set ${bridge} up`,
    ...addresses(bridge, ipv4, ipv6),
  ]);
  await plug(TOR.name, TOR.ipv4, TOR.ipv6);
  await ip(TOR.name, addresses("lo", OUTSIDE.ipv4, OUTSIDE.ipv6));
  for (const { name, ipv4, ipv6 } of nodes) await plug(name, ipv4, ipv6);
  const subnets = 1 + Math.max(...nodes.map(({ subnet = 0 }) => subnet));
  if (subnets > 1) await route(subnets, nodes);
}

/** Several subnets: the fabric is their router, which knows nothing of pods; the ToR has a foot in each. */
async function route(subnets: number, nodes: readonly LabNode[]): Promise<void> {
  await must(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
  for (let subnet = 1; subnet < subnets; subnet++) {
    const [router, tor] = [placeIn(subnet, 1), placeIn(subnet, 2)];
    await ip(undefined, addresses(FABRIC.bridge, router.ipv4, router.ipv6));
    await ip(TOR.name, addresses("eth0", tor.ipv4, tor.ipv6));
  }
  for (const { name, subnet = 0 } of nodes) {
    const { ipv4, ipv6 } = placeIn(subnet, 1);
    await ip(name, [
      `route add ${FABRIC_RANGE.ipv4} via ${bare(ipv4)}`,
      `route add ${FABRIC_RANGE.ipv6} via ${bare(ipv6)}`,
    ]);
  }
}

async function plug(name: string, ipv4: string, ipv6: string): Promise<void> {
  const port = `to-${name}`;
  await ip(undefined, [`netns add ${name}`]);
  await must(["ip", "netns", "exec", name, ...withoutDad]);
  await ip(undefined, [
    `link add ${port} type veth peer name eth0 netns ${name}`,
    `link set ${port} master ${FABRIC.bridge} up`,
  ]);
  await ip(name, ["link set lo up", "link set eth0 up", ...addresses("eth0", ipv4, ipv6)]);
}

/** Of link-local addresses neither, on devices made from here on: from a tentative one no neighbour is solicited for what pods send. */
const withoutDad = ["sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0"];

/** No duplicate address detection: the lab's addresses are its own, and BGP shall not wait a second for them. */
const addresses = (device: string, ipv4: string, ipv6: string): string[] => [
  `address add ${ipv4} dev ${device}`,
  `address add ${ipv6} dev ${device} nodad`,
];

/** One `ip -batch` in a namespace. LabError "command-failed". */
export async function ip(namespace: string | undefined, lines: readonly string[]): Promise<void> {
  await must(["ip", ...(namespace ? ["-n", namespace] : []), "-batch", "-"], {
    input: `${lines.join("\n")}\n`,
  });
}
