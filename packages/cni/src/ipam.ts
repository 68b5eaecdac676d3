import { contains, formatAddress, offset, sameAddress, width } from "@margay/net";
import { addressSource, parsedAddresses, podIn } from "./addresses.ts";
import type { CniDeps } from "./deps.ts";
import { CniError } from "./errors.ts";
import { cniError } from "./failure.ts";
import type { Reply } from "./frame.ts";
import type { Invocation } from "./invocation.ts";
import { DONE, formatIpamResult, type IpamAddress } from "./result.ts";
import { previous, verdict } from "./verdict.ts";

/*
 * The calls as margay-ipam: another plugin makes the interface and asks for addresses only (CNI specification §4).
 */

/** Throws CniError. */
export async function addIpam(deps: CniDeps, invocation: Invocation): Promise<Reply> {
  const source = sourceOf(deps, invocation);
  const { handle } = podIn(deps, invocation);
  const isRepeat = [...deps.held()].some((one) => one.handle === handle);
  try {
    const { addresses } = await source.assign();
    const ips = addresses.map((address) =>
      shaped(deps, invocation, { address, length: width(address.family) }),
    );
    return formatIpamResult(invocation.cniVersion, { ips, routes: invocation.conf.ipam?.routes ?? [] });
  } catch (error) {
    if (!isRepeat && cniError(error).code === "invalid-configuration") await source.release("add-failed");
    throw cniError(error);
  }
}

/** Throws CniError. */
export async function delIpam(deps: CniDeps, invocation: Invocation): Promise<Reply> {
  try {
    await sourceOf(deps, invocation).release("cni-del");
    return DONE;
  } catch (error) {
    throw cniError(error);
  }
}

/** Whether the container still has the addresses that its interface got. Throws CniError. */
export async function checkIpam(deps: CniDeps, invocation: Invocation): Promise<Reply> {
  const { handle } = podIn(deps, invocation);
  const given = parsedAddresses(previous(invocation));
  const held = [...deps.held()].filter((one) => one.handle === handle);
  if (held.length === 0) return verdict([`address: IPAM holds none under ${handle}`]);
  const lost = held.filter(({ address }) => !given.some((one) => sameAddress(one, address)));
  return verdict(lost.map(({ address }) => `address ${formatAddress(address)}: not in the result of ADD`));
}

const sourceOf = (deps: CniDeps, invocation: Invocation) =>
  addressSource(deps, invocation, podIn(deps, invocation));

/** Plugins that want an address and nothing about it: what Margay itself makes of one. */
const HOST_ROUTED: readonly (string | undefined)[] = [undefined, "margay-cni", "calico"];

/**
 * bridge, ptp and macvlan put the address into a subnet whose gateway is its first address but one. That subnet is the
 * block, if its ends are the host's: else a pod could have the gateway's address.
 */
function shaped({ blockOf }: CniDeps, { conf }: Invocation, host: IpamAddress): IpamAddress {
  if (HOST_ROUTED.includes(conf.type)) return host;
  const block = blockOf(host.address);
  if (!block || !contains(block.prefix, host.address)) return host;
  if (block.reserved.first >= 2 && block.reserved.last >= 1)
    return { ...host, length: block.prefix.length, gateway: offset(block.prefix, 1) };
  throw new CniError(
    "invalid-configuration",
    `margay-ipam under ${conf.type} needs a gateway in each block`,
    {
      details: "Set IPAMConfiguration default: hostReserved: {first: 2, last: 1}.",
    },
  );
}
