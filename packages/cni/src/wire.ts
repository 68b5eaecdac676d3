import { type Address, hostPrefix, parseAddress, parsePrefix, width } from "@margay/net";
import {
  configureLink,
  createVeth,
  deleteLink,
  type Link,
  linkBesideLoopback,
  linkByName,
  macBytes,
  Netlink,
  NetlinkError,
  type Route,
  sysctl,
  sysctlName,
} from "@margay/netlink";
import type { Wiring } from "./deps.ts";
import { CniError } from "./errors.ts";
import { aliasOf } from "./owner.ts";
import { GATEWAY } from "./result.ts";

/** MAC of every host end. Its EUI-64 link-local address is the IPv6 gateway, fe80::ecee:eeff:feee:eeee. */
export const HOST_MAC = "ee:ee:ee:ee:ee:ee";

/** Protocol "boot": what `ip route add` writes. The pod's routes are nobody's to reconcile. */
const BOOT = 3;

/**
 * Makes the veth of one pod:
 *
 *   node                                           pod
 *   caliXXXXXXXXXXX  ee:ee:ee:ee:ee:ee ◄─────────► eth0  10.244.0.5/32, fd00::5/128
 *   no router of its own: accept_ra 0              169.254.1.1 dev eth0; default via 169.254.1.1
 *   the pod's addresses permanent neighbours       both gateways permanent neighbours, ee:ee:ee:ee:ee:ee
 *   alias: whose it is
 *
 * No ARP or NDP passes, so no first packet waits for it. The node's route to the pod is the agent's to make,
 * when the pod's policy is there. Whatever had either name is replaced. Throws CniError `unknown-container`
 * when the namespace is gone, else NetlinkError, and then leaves nothing. It keeps the thread for all the time that the kernel
 * takes: an agent has another one for that (`WiringThread`).
 */
export async function wire(nl: Netlink, wiring: Wiring): Promise<void> {
  const pod = openPod(wiring.netns);
  if (!pod) throw new CniError("unknown-container", `network namespace ${wiring.netns} does not exist`);
  try {
    const host = await makeVeth(nl, pod, wiring);
    await wirePod(pod, wiring);
    // The end that comes up last has its carrier at once. The other is told later, and the kernel then goes through its namespace's routes.
    await wireHost(nl, host, wiring);
    // The kernel lets packets into the end that came up first some time after the other did, or when that is asked about.
    await linkByName(pod, wiring.ifname);
  } catch (error) {
    await deleteLink(nl, wiring.hostInterface);
    throw error;
  } finally {
    pod.close();
  }
}

/**
 * Removes the veth by the pod's end; a namespace or interface gone already is success, another kind of
 * interface stays.
 */
export async function unwireInside({ netns, ifname }: { netns: string; ifname: string }): Promise<void> {
  const pod = openPod(netns, { inBackground: true });
  if (!pod) return;
  try {
    if ((await linkByName(pod, ifname))?.kind === "veth") await deleteLink(pod, ifname);
  } finally {
    pod.close();
  }
}

/** Undefined when the namespace is gone: its file removed, or left behind without a mount. */
export function openPod(
  netns: string,
  manner: { readonly inBackground?: boolean } = {},
): Netlink | undefined {
  try {
    return Netlink.open({ namespace: netns, ...manner });
  } catch (error) {
    if (error instanceof NetlinkError && ["ENOENT", "EINVAL"].includes(error.code)) return undefined;
    throw error;
  }
}

/** Almost always both names are free; a veth that has either of them makes room. */
async function makeVeth(nl: Netlink, pod: Netlink, wiring: Wiring): Promise<Link> {
  const { hostInterface, netns, ifname, mtu, mac, group } = wiring;
  const peer = { name: ifname, namespace: netns, mac };
  const make = () =>
    createVeth(nl, { name: hostInterface, mtu, mac: HOST_MAC, ...(group !== undefined && { group }), peer });
  try {
    return await make();
  } catch (error) {
    if (!(error instanceof NetlinkError) || error.code !== "EEXIST") throw error;
    await deleteLink(nl, hostInterface);
    if ((await linkByName(pod, ifname))?.kind === "veth") await deleteLink(pod, ifname);
    return make();
  }
}

/**
 * The pod's side. Duplicate address detection would hold a /128 of nobody else's back for a second, and its link-local address: that
 * one is given to it as the kernel would have made it. By requests alone: for a file below /proc/sys/net the kernel goes through as
 * many entries as there are pods.
 */
async function wirePod(pod: Netlink, { netns, ifname, addresses, mac }: Wiring): Promise<void> {
  const link = await linkBesideLoopback(pod, ifname);
  if (!link) throw new CniError("io-failure", `${ifname} vanished from the pod while it was being made`);
  const isDual = has6(addresses);
  if (isDual && link.isWithoutIpv6) sysctl(`net.ipv6.conf.${sysctlName(ifname)}.disable_ipv6`, 0, netns);
  const gateways = addresses.map(({ family }) => parseAddress(GATEWAY[family]));
  await configureLink(pod, link, {
    isWithoutOwnAddress: isDual,
    link: { up: true },
    addresses: [
      ...(isDual ? [{ address: linkLocal(mac), length: 64, nodad: true }] : []),
      ...addresses.map((address) => {
        const { family } = address;
        return { address, length: width(family), nodad: family === 6 };
      }),
    ],
    neighbours: gateways.map((address) => ({ address, mac: HOST_MAC })),
    routes: gateways.flatMap((gateway) => routesVia(gateway, ifname)),
  });
}

/** fe80:: and the interface identifier that is made of a MAC (RFC 4291, appendix A). */
function linkLocal(mac: string): Address {
  const [first = 0, ...rest] = macBytes(mac);
  const bytes = [first ^ 2, ...rest.slice(0, 2), 0xff, 0xfe, ...rest.slice(2)];
  const identifier = bytes.reduce((bits, byte) => (bits << 8n) | BigInt(byte), 0n);
  return { family: 6, bits: (0xfe80n << 112n) | identifier };
}

/** An IPv6 link-local gateway is on the link by itself; the IPv4 one needs a route first. */
export function routesVia(gateway: Address, dev: string): Route[] {
  const common = { protocol: BOOT, type: "unicast" } as const;
  if (gateway.family === 6)
    return [{ ...common, dst: parsePrefix("::/0"), nexthops: [{ via: gateway, dev }] }];
  return [
    { ...common, dst: hostPrefix(gateway), scope: "link", nexthops: [{ dev }] },
    { ...common, dst: parsePrefix("0.0.0.0/0"), nexthops: [{ via: gateway, dev }] },
  ];
}

/** The node's side. Its settings are there before it comes up; one that this kernel does not have is left out. */
async function wireHost(
  nl: Netlink,
  link: Link,
  { hostInterface, owner, addresses, mac, settings = new Map() }: Wiring,
): Promise<void> {
  const ipv6 = `net.ipv6.conf.${sysctlName(hostInterface)}`;
  const first = [...(has6(addresses) ? ["disable_ipv6", "accept_dad"] : []), "accept_ra"];
  for (const [name, value] of new Map([...first.map((one) => [`${ipv6}.${one}`, "0"] as const), ...settings]))
    setIfThere(name, value);
  await configureLink(nl, link, {
    link: { up: true, alias: aliasOf(owner) },
    neighbours: addresses.map((address) => ({ address, mac })),
  });
}

function setIfThere(name: string, value: string): void {
  try {
    sysctl(name, value);
  } catch (error) {
    if (!(error instanceof NetlinkError) || error.code !== "ENOENT") throw error;
  }
}

const has6 = (addresses: readonly Address[]): boolean => addresses.some(({ family }) => family === 6);
