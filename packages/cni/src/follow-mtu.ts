import type { WorkloadEndpoint } from "@margay/api";
import { linkByName, Netlink, NetlinkError, setLink } from "@margay/netlink";
import { FIXED_MTU, NETNS } from "./owner.ts";

/**
 * Gives running pods a new MTU, on both ends; those whose configuration says one keep it. What vanishes meanwhile needs
 * none. @returns how many interfaces changed
 */
export async function followMtu(
  nl: Netlink,
  { mtu, endpoints }: { mtu: number; endpoints: readonly WorkloadEndpoint[] },
): Promise<number> {
  let changed = 0;
  for (const { metadata, spec } of endpoints) {
    const { [NETNS]: netns, [FIXED_MTU]: fixed } = metadata.annotations ?? {};
    if (netns === undefined || fixed !== undefined) continue;
    const pod = unlessGone(() => Netlink.open({ namespace: netns }));
    const ends: [Netlink | undefined, string][] = [
      [nl, spec.interfaceName],
      [pod, spec.endpoint],
    ];
    for (const [where, name] of ends) if (where && (await setMtu(where, name, mtu))) changed++;
    pod?.close();
  }
  return changed;
}

async function setMtu(nl: Netlink, name: string, mtu: number): Promise<boolean> {
  const link = await linkByName(nl, name);
  if (link?.kind !== "veth" || link.mtu === mtu) return false;
  try {
    await setLink(nl, name, { mtu });
    return true;
  } catch (error) {
    if (error instanceof NetlinkError && error.code === "ENODEV") return false;
    throw error;
  }
}

function unlessGone<T>(open: () => T): T | undefined {
  try {
    return open();
  } catch (error) {
    if (error instanceof NetlinkError && ["ENOENT", "EINVAL"].includes(error.code)) return undefined;
    throw error;
  }
}
