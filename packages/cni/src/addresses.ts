import type { ReleaseReason } from "@margay/api";
import type { Change } from "@margay/datastore";
import type { Assignment } from "@margay/ipam";
import { type Address, type Family, formatAddress, NetError, sameAddress } from "@margay/net";
import { hostOf, type PreviousResult } from "./configuration.ts";
import { delegate, delegated } from "./delegate.ts";
import type { CniDeps } from "./deps.ts";
import { CniError } from "./errors.ts";
import type { Invocation } from "./invocation.ts";
import { ownerOfHandle, sameOwner } from "./owner.ts";
import { attributesOf, type Pod, podOf } from "./pod.ts";
import { type Wishes, wishes } from "./wishes.ts";

/**
 * Told which addresses it will most likely be while they are being written, and again if it turns out otherwise. What it
 * answers is written with them if it can be.
 */
export type OnChosen = (addresses: readonly Address[]) => readonly Change[];

export interface Given {
  readonly addresses: readonly Address[];
  readonly dns?: object;
  /** What the last `OnChosen` answered is in the datastore. */
  readonly wroteAlong: boolean;
}

/** Where a pod's addresses come from: Margay's IPAM, another plugin, or whoever asked for them. */
export interface AddressSource {
  /** Repeated, the same again. */
  readonly assign: (onChosen?: OnChosen) => Promise<Given>;
  /** None is success. */
  readonly release: (reason: ReleaseReason) => Promise<unknown>;
  /** Which of these the pod does not hold (any more), in words. */
  readonly problems: (addresses: readonly Address[]) => Promise<string[]>;
}

/** Throws CniError for a wish that cannot be understood. */
export function addressSource(deps: CniDeps, invocation: Invocation, pod: Pod): AddressSource {
  const type = delegated(invocation);
  if (type !== undefined) return others(deps, invocation, type);
  return own(deps, invocation, pod);
}

/** What is asked for the pod of this call. */
export const wishesOf = ({ conf, args }: Invocation): Wishes =>
  wishes({
    pod: conf.args?.cni?.annotations ?? {},
    namespace: conf.args?.cni?.namespaceAnnotations ?? {},
    conf,
    args,
  });

function own(deps: CniDeps, invocation: Invocation, pod: Pod): AddressSource {
  const { ipam, held } = deps;
  return {
    assign: async (onChosen = () => []) => {
      const asked = wishesOf(invocation);
      const addresses = asked.addressesWithoutIpam;
      if (addresses.length > 0) return { addresses, wroteAlong: false };
      return assign(deps, invocation, { pod, asked, onChosen });
    },
    release: (reason) => {
      const handles = new Set([pod.handle, ...heldHandles(held, pod)]);
      return Promise.all([...handles].map((handle) => ipam.release({ handle, reason })));
    },
    problems: async (addresses) => {
      if (wishesOf(invocation).addressesWithoutIpam.length > 0) return [];
      const mine = [...held()].filter(({ handle }) => handle === pod.handle).map(({ address }) => address);
      return addresses
        .filter((address) => !mine.some((one) => sameAddress(one, address)))
        .map((address) => `address ${formatAddress(address)}: IPAM does not hold it for ${pod.handle}`);
    },
  };
}

/** Whose call it is, with the handle that it has: that of before, if its addresses are under it and none under the new one. */
export function podIn(deps: Pick<CniDeps, "node" | "interfacePrefix" | "held">, invocation: Invocation): Pod {
  const pod = podOf(invocation, { node: deps.node, interfacePrefix: deps.interfacePrefix() });
  const handles = heldHandles(deps.held, pod);
  return { ...pod, handle: handles.find((one) => one === pod.handle) ?? handles[0] ?? pod.handle };
}

/** A container or network with a dot in its name may have its addresses under the handle of before: see `handleOf`. */
function heldHandles(held: CniDeps["held"], { owner }: Pod): string[] {
  if (![owner.network, owner.containerId].some((name) => name.includes("."))) return [];
  const mine = [...held()].filter((one) => {
    const found = one.containerId === owner.containerId && ownerOfHandle(one.handle, owner);
    return found && sameOwner(found, owner);
  });
  return mine.map(({ handle }) => handle);
}

async function assign(
  deps: CniDeps,
  invocation: Invocation,
  { pod, asked, onChosen }: { pod: Pod; asked: Wishes; onChosen: OnChosen },
): Promise<Given> {
  const families = familiesOf(deps, invocation, { pod, asked });
  const pools = Object.fromEntries(
    families.flatMap((family) => (asked.pools[family].length > 0 ? [[family, asked.pools[family]]] : [])),
  );
  const attributes = attributesOf(invocation, { ...pod, node: deps.node, now: deps.now() });
  const request = {
    ...{ handle: pod.handle, families, attributes },
    pools,
    ...(asked.addresses.length > 0 && { addresses: asked.addresses }),
  };
  const { held, wroteAlong } = await deps.ipam.assignWith(request, (chosen) => onChosen(addressesOf(chosen)));
  return { addresses: addressesOf(held), wroteAlong };
}

const addressesOf = (held: readonly Assignment[]): Address[] => held.map(({ address }) => address);

/** The pod's word, the configuration's, else every family that has a pool, and those of addresses asked for. */
function familiesOf(
  deps: CniDeps,
  { conf }: Invocation,
  { pod, asked: { families, addresses } }: { pod: Pod; asked: Wishes },
): readonly Family[] {
  if (families) return families;
  const asked = addresses.map(({ family }) => family);
  const pooled = deps.families(pod.namespace);
  const wanted = {
    4: conf.ipam?.assign_ipv4 ?? (pooled.includes(4) || asked.includes(4)),
    6: conf.ipam?.assign_ipv6 ?? (pooled.includes(6) || asked.includes(6)),
  };
  const found = ([4, 6] as const).filter((family) => wanted[family]);
  if (found.length > 0) return found;
  throw new CniError("no-address", NO_POOL.message, NO_POOL);
}

export const NO_POOL = {
  message: "no enabled pool gives addresses to pods",
  details: "Create one: margay apply -f with an IPPool; `margay get ippools` lists them.",
} as const;

function others({ podCidrs }: CniDeps, invocation: Invocation, type: string): AddressSource {
  const call = (command: "ADD" | "DEL" | "CHECK") =>
    delegate(invocation, { type, command, podCidrs: podCidrs() });
  return {
    assign: async () => {
      const { ips, dns } = await call("ADD");
      if (ips.length === 0) throw new CniError("no-address", `${type}: its result has no address`);
      return { addresses: parsedAddresses({ ips }), ...(dns && { dns }), wroteAlong: false };
    },
    release: () => call("DEL"),
    problems: async () => {
      try {
        await call("CHECK");
        return [];
      } catch (error) {
        if (error instanceof CniError && error.code === "no-address") return [`address: ${error.message}`];
        throw error;
      }
    },
  };
}

/** The addresses of a result. Throws CniError 7. */
export function parsedAddresses({ ips }: Pick<PreviousResult, "ips">): Address[] {
  try {
    return ips.map(({ address }) => hostOf(address));
  } catch (error) {
    if (!(error instanceof NetError)) throw error;
    throw new CniError("invalid-configuration", `result: ips: ${error.message}`);
  }
}
