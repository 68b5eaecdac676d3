import type { WorkloadEndpoint } from "@margay/api";

/**
 * What the CNI specification calls an attachment: one interface of one container in one network. Everything
 * that ADD makes bears it, so that DEL and GC find exactly theirs: the address in its handle, the endpoint in an
 * annotation, the veth in its alias.
 */
export interface Owner {
  /** `name` of the network configuration. */
  readonly network: string;
  readonly containerId: string;
  /** Interface inside the pod. */
  readonly ifname: string;
}

/**
 * Under this IPAM keeps its addresses: `net.4f1c`, and `net.4f1c.net1` for further interfaces. A network or container with a dot
 * in its name has a handle with slashes, or `a.b` would have that of interface `b` of `a`.
 */
export function handleOf({ network, containerId, ifname }: Owner): string {
  const parts = [network, containerId];
  if (parts.some((part) => part.includes("."))) return [...parts, ifname].join("/");
  return [...parts, ...(ifname === "eth0" ? [] : [ifname])].join(".");
}

/** Whose an address is, if it is of that network; dots in names are understood in handles of before, too. */
export function ownerOfHandle(
  handle: string,
  { network, containerId }: { network: string; containerId: string | undefined },
): Owner | undefined {
  if (containerId === undefined) return undefined;
  const rest = (separator: string) => {
    const begin = [network, containerId].join(separator);
    return handle.startsWith(begin) ? handle.slice(begin.length) : undefined;
  };
  if (rest(".") === "") return { network, containerId, ifname: "eth0" };
  const ifname = [".", "/"].map((one) => rest(one)?.startsWith(one) && rest(one)?.slice(1)).find(Boolean);
  return ifname ? { network, containerId, ifname } : undefined;
}

const MARK = "margay:";

/** The alias of a veth's host end: `ip link` shows it. At most 255 bytes, by the bounds of `parseCall`. */
export const aliasOf = ({ network, containerId, ifname }: Owner): string =>
  `${MARK}${network} ${containerId} ${ifname}`;

/** Undefined for an interface that is not ours, Calico's among them. */
export function ownerOfAlias(alias: string | undefined): Owner | undefined {
  if (!alias?.startsWith(MARK)) return undefined;
  const [network, containerId, ifname] = alias.slice(MARK.length).split(" ");
  return network && containerId && ifname ? { network, containerId, ifname } : undefined;
}

/** The annotation of an endpoint that names its network. */
export const NETWORK = "margay.dev/network";

/** Annotations of an endpoint: the path of its namespace, and its MTU if the configuration said one. */
export const NETNS = "margay.dev/netns";
export const FIXED_MTU = "margay.dev/mtu";

/** Undefined for an endpoint that no CNI call made. */
export function ownerOfEndpoint({ metadata, spec }: WorkloadEndpoint): Owner | undefined {
  const network = metadata.annotations?.[NETWORK];
  if (network === undefined || spec.containerID === undefined) return undefined;
  return { network, containerId: spec.containerID, ifname: spec.endpoint };
}

export const sameOwner = (a: Owner, b: Owner): boolean => aliasOf(a) === aliasOf(b);
