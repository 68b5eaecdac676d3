import { type Address, formatAddress, prefixOf, sameAddress, width } from "@margay/net";
import {
  addAddress,
  checksumOffload,
  createVxlan,
  deleteAddress,
  deleteForwarding,
  deleteLink,
  deleteNeighbour,
  type Forwarding,
  formatVxlan,
  linkByName,
  listAddresses,
  listForwarding,
  listLinks,
  listNeighbours,
  type Netlink,
  NetlinkError,
  sameVxlan,
  setChecksumOffload,
  setForwarding,
  setLink,
  setNeighbour,
  sysctl,
} from "@margay/netlink";
import type { Target } from "@margay/reconcile";
import { wayOut } from "../uplink.ts";
import { DEVICES, type Device, type Ground, type Neighbouring } from "./wanted.ts";

type On<T> = T & { readonly dev: string };
const NAMES = Object.values(DEVICES);

/** A device as text that says all about it, and what to make it of: found ones are never made. */
export interface Described {
  readonly text: string;
  readonly device?: Device;
}

export const described = (device: Device): Described => ({
  device,
  text: textOf({ ...device, isUp: true, addresses: [device.address] }),
});

interface Found extends Partial<Omit<Device, "address">> {
  readonly isUp: boolean;
  readonly addresses: readonly Address[];
}

function textOf({ settings, mtu, mac, isUp, addresses, offloads }: Found): string {
  const kind = settings
    ? `vxlan ${formatVxlan(settings)}${settings.learning ? " learning" : ""}`
    : "no vxlan";
  const state = [isUp ? "up" : "down", ...(offloads ? [] : ["own checksums"])].join();
  return `${kind} mtu ${mtu} ${mac} ${state} ${addresses.map(formatAddress).join()}`;
}

/** The devices with our names, whole: addresses, MTU, MAC and whether they are up. */
export const deviceTarget = (nl: Netlink): Target<Described> => ({
  name: "devices",
  list: async () => {
    const all = (await nl.linksNamed(NAMES)).map(async ({ name, up, mtu, mac, vxlan }) => {
      const addresses = (await globalAddresses(nl, name)).map(({ address }) => address);
      const found = {
        isUp: up,
        mtu,
        addresses,
        offloads: await offloads(name),
        ...(mac !== undefined && { mac }),
        ...(vxlan && { settings: vxlan }),
      };
      return [name, { text: textOf(found) }] as const;
    });
    return new Map(await Promise.all(all));
  },
  put: async (wanted) => {
    for (const [name, { device }] of wanted) if (device) await make(nl, name, device);
  },
  remove: async (names) => {
    for (const name of names) await deleteLink(nl, name);
  },
  same: (a, b) => a.text === b.text,
});

/** A kernel that cannot be asked (before Linux 5.6) leaves it as it was made. */
async function offloads(name: string): Promise<boolean> {
  try {
    return await checksumOffload(name);
  } catch (error) {
    if (error instanceof NetlinkError) return true;
    throw error;
  }
}

const globalAddresses = async (nl: Netlink, dev: string) =>
  (await listAddresses(nl, dev)).filter(({ scope }) => scope === "global");

/** While a mode changes, packets come through the tunnel whose answers go another way. The larger of this and conf.all counts. */
const LOOSE = "2";

/** In this order: nobody sends through a device that is not ready. */
async function make(nl: Netlink, name: string, device: Device): Promise<void> {
  const { settings, mtu, mac, address } = device;
  const before = await linkByName(nl, name);
  const fits = before?.vxlan !== undefined && sameVxlan(before.vxlan, settings);
  if (before && !fits) await deleteLink(nl, name);
  if (!fits) await createVxlan(nl, { name, mtu, mac, ...settings });
  else await setLink(nl, name, { mtu, mac });
  for (const other of await globalAddresses(nl, name))
    if (!sameAddress(other.address, address)) await deleteAddress(nl, name, other);
  if ((await offloads(name)) !== device.offloads) await setChecksumOffload(name, { on: device.offloads });
  sysctl(`net.ipv4.conf.${name.replaceAll(".", "/")}.rp_filter`, LOOSE);
  await addAddress(nl, name, { address, length: width(address.family), nodad: true });
  await setLink(nl, name, { up: true });
}

/** Where frames to a MAC go. What is not permanent or not ours cannot be there: the devices learn nothing. */
export const forwardingTarget = (nl: Netlink): Target<On<Forwarding>> => ({
  name: "forwarding",
  list: async () => {
    const all = (await nl.linksNamed(NAMES)).map(async ({ name: dev }) =>
      (await listForwarding(nl, dev)).map((one) => [`${dev} ${one.mac}`, { dev, ...one }] as const),
    );
    return new Map((await Promise.all(all)).flat());
  },
  put: async (wanted) => {
    for (const { dev, ...one } of wanted.values()) await setForwarding(nl, dev, one);
  },
  remove: async (keys) => {
    for (const key of keys) {
      const [dev = "", mac] = key.split(" ");
      await unlessGone(async () => {
        for (const one of await listForwarding(nl, dev))
          if (one.mac === mac) await deleteForwarding(nl, dev, one);
      });
    }
  },
  same: (a, b) => a.dev === b.dev && a.mac === b.mac && sameAddress(a.to, b.to),
});

/** Whose MAC a tunnel address is: permanent, so that nobody asks over a network that carries no such question. */
export const neighbourTarget = (nl: Netlink): Target<On<Neighbouring>> => ({
  name: "neighbours",
  list: async () => {
    const names = new Map((await nl.linksNamed(NAMES)).map(({ index, name }) => [index, name]));
    const listed = names.size === 0 ? [] : await listNeighbours(nl);
    return new Map(
      listed.flatMap(({ index, address, mac, state }) => {
        const dev = names.get(index);
        if (dev === undefined || state !== "permanent" || mac === undefined) return [];
        return [[`${dev} ${formatAddress(address)}`, { dev, address, mac }] as const];
      }),
    );
  },
  put: async (wanted) => {
    for (const { dev, ...one } of wanted.values()) await setNeighbour(nl, dev, one);
  },
  remove: async (keys) => {
    const all = await neighbourTarget(nl).list();
    for (const key of keys) {
      const one = all.get(key);
      if (one) await unlessGone(() => deleteNeighbour(nl, one.dev, one));
    }
  },
  same: (a, b) => a.dev === b.dev && a.mac === b.mac && sameAddress(a.address, b.address),
});

/** The device or the entry may have gone with somebody else. */
async function unlessGone(act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (!(error instanceof NetlinkError) || !["ENODEV", "ENOENT"].includes(error.code)) throw error;
  }
}

/** The node's addresses as the kernel has them now; not those of our own devices. */
export async function readGround(nl: Netlink): Promise<Ground[]> {
  const links = await listLinks(nl);
  const byIndex = new Map(links.map((link) => [link.index, link]));
  const all = (await listAddresses(nl)).map(async ({ index, address, length, scope }) => {
    const link = byIndex.get(index);
    if (!link || scope !== "global" || NAMES.includes(link.name)) return [];
    const way = await wayOut(nl, link, { family: address.family, links });
    return [{ dev: link.name, way, address, subnet: prefixOf(address, length) }];
  });
  return (await Promise.all(all)).flat();
}
