import { NetlinkError } from "./error.ts";
import {
  changeLink,
  getLink,
  groupLink,
  isWithoutIpv6,
  type Link,
  type LinkChange,
  newVxlan,
  readLink,
  removeGroup,
  removeLink,
  upLink,
  type Veth,
  type Vxlan,
  withVeth,
} from "./link.ts";
import type { Request } from "./message.ts";
import type { Netlink } from "./netlink.ts";

export const listLinks = (nl: Netlink): Promise<Link[]> => nl.links();

/** Undefined when there is none. */
export const linkByName = async (nl: Netlink, name: string): Promise<Link | undefined> =>
  (await nl.linksNamed([name]))[0];

/** A link of a namespace just made. `isWithoutIpv6`: by its setting `disable_ipv6`. */
export interface NewLink extends Link {
  readonly isWithoutIpv6: boolean;
}

/** In a namespace just made: its loopback comes up, and the link of that name is answered; undefined when there is none. */
export async function linkBesideLoopback(nl: Netlink, name: string): Promise<NewLink | undefined> {
  let found: NewLink | undefined;
  const failures = await nl.requests.transact([upLink("lo"), getLink(name)], (message) => {
    const link = readLink(message);
    found = link && { ...link, isWithoutIpv6: isWithoutIpv6(message) };
  });
  const refused = failures.find(({ index }) => index === 0);
  if (refused) throw refused.error;
  return found;
}

/** The link, or NetlinkError ENODEV about `words`. */
export async function requireLink(nl: Netlink, name: string, words: string): Promise<Link> {
  const link = await linkByName(nl, name);
  if (!link) throw new NetlinkError("ENODEV", words, `no link ${name}`);
  return link;
}

/** One request whose refusal is thrown. */
export async function request(nl: Netlink, one: Request): Promise<void> {
  const [failure] = await nl.requests.transact([one]);
  if (failure) throw failure.error;
}

/**
 * Makes both ends at once, the peer in place in its namespace. NetlinkError EEXIST when either name is taken there,
 * ENOENT when the namespace is gone.
 * @returns the near end, read in the same exchange
 */
export const createVeth = (nl: Netlink, veth: Veth): Promise<Link> =>
  withVeth(veth, async (wanted) => {
    let made: Link | undefined;
    const [failure] = await nl.requests.transact([wanted, getLink(veth.name)], (message) => {
      made = readLink(message);
    });
    if (failure) throw failure.error;
    return made!; // the kernel answers each request, by a link or a refusal
  });

/** NetlinkError EEXIST when the name is taken, or another device of the namespace has the VNI and port. */
export const createVxlan = (nl: Netlink, vxlan: Vxlan): Promise<void> => request(nl, newVxlan(vxlan));

/** Changes a link; NetlinkError ENODEV when it does not exist. */
export async function setLink(nl: Netlink, name: string, change: LinkChange): Promise<void> {
  await request(nl, changeLink(await requireLink(nl, name, `set link ${name}`), change));
}

/** Puts links into groups; those that are gone are left out. Throws NetlinkError. */
export async function setGroups(nl: Netlink, groups: ReadonlyMap<string, number>): Promise<void> {
  const requests = [...groups].map(([name, group]) => groupLink(name, group));
  const failure = (await nl.requests.transact(requests)).find(({ error }) => error.code !== "ENODEV");
  if (failure) throw failure.error;
}

/** Whether there was one to delete. A veth's other end goes with it. */
export async function deleteLink(nl: Netlink, name: string): Promise<boolean> {
  const [failure] = await nl.requests.transact([removeLink(name)]);
  if (!failure) return true;
  if (failure.error.code === "ENODEV") return false;
  throw failure.error;
}

/** A link group that only links about to be deleted are ever in: "Marg". */
export const DOOMED_GROUP = 0x4d617267;

/**
 * Deletes all of them at once; those gone already are success. The kernel waits for its readers once for all instead of
 * once for each (measured: 50 veths in 31 ms against 50 times 20 ms), and this thread waits with it.
 */
export async function deleteLinks(nl: Netlink, names: readonly string[]): Promise<void> {
  const requests = [...names.map((name) => groupLink(name, DOOMED_GROUP)), removeGroup(DOOMED_GROUP)];
  const failure = (await nl.requests.transact(requests)).find(({ error }) => error.code !== "ENODEV");
  if (failure) throw failure.error;
}
