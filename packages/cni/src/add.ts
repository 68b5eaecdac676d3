import { keyOf, type WorkloadEndpoint } from "@margay/api";
import { StoreError } from "@margay/datastore";
import type { Address, Family } from "@margay/net";
import type { CniDeps } from "./deps.ts";
import { CniError, cniError } from "./errors.ts";
import type { Reply } from "./frame.ts";
import type { Invocation } from "./invocation.ts";
import { attributesOf, endpointOf, podOf } from "./pod.ts";
import { formatIpamResult, formatResult } from "./result.ts";
import { Undo } from "./undo.ts";
import { HOST_MAC } from "./wire.ts";

/**
 * CNI ADD, top to bottom. Repeating it for the same container gives the same addresses; a failure takes back
 * all that was done. Throws CniError.
 */
export async function add(deps: CniDeps, invocation: Invocation): Promise<Reply> {
  const undo = new Undo();
  try {
    return await attach(deps, invocation, undo);
  } catch (error) {
    const left = (await undo.run()).map((failed) => `${failed.name}: ${cniError(failed.error).message}`);
    const { code, message, details } = cniError(error);
    if (left.length === 0) throw cniError(error);
    throw new CniError(code, message, {
      cause: error,
      details: `${details ?? ""} Left behind: ${left.join("; ")}`.trim(),
    });
  }
}

async function attach(deps: CniDeps, invocation: Invocation, undo: Undo): Promise<Reply> {
  const { cniVersion, ifname, netns, conf } = invocation;
  if (netns === undefined) throw new CniError("invalid-environment", "CNI_NETNS is missing");
  const pod = {
    ...podOf(invocation, { node: deps.node, interfacePrefix: deps.interfacePrefix() }),
    ...deps,
    now: deps.now(),
  };
  const mtu = conf.mtu || deps.mtu();

  undo.push("release addresses", () => deps.ipam.release({ handle: pod.handle, reason: "add-failed" }));
  const addresses = await assign(deps, invocation, pod);

  undo.push("remove interface", () => deps.unwire(pod.hostInterface));
  const { mac } = await deps.wire({
    ...{ hostInterface: pod.hostInterface, owner: pod.owner, netns, ifname, addresses, mtu },
    ...(conf.runtimeConfig?.mac && { mac: conf.runtimeConfig.mac }),
  });

  undo.push("delete endpoint", () => deps.endpoints.delete(pod.endpoint, pod.namespace));
  await write(deps, endpointOf(invocation, pod, { addresses, mac }));

  await deps.ready(keyOf("WorkloadEndpoint", pod.endpoint, pod.namespace));
  return formatResult({
    ...{ cniVersion, mtu, addresses },
    hostInterface: { name: pod.hostInterface, mac: HOST_MAC },
    podInterface: { name: ifname, mac, netns },
  });
}

/** Almost always there is none yet; what an earlier sandbox of the pod left is replaced. */
async function write({ endpoints }: CniDeps, endpoint: WorkloadEndpoint): Promise<void> {
  try {
    await endpoints.create(endpoint);
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== "exists") throw error;
    await endpoints.apply(endpoint);
  }
}

/** CNI ADD as margay-ipam: addresses only. Throws CniError. */
export async function addIpam(deps: CniDeps, invocation: Invocation): Promise<Reply> {
  const pod = podOf(invocation, { node: deps.node, interfacePrefix: deps.interfacePrefix() });
  try {
    const addresses = await assign(deps, invocation, { ...pod, node: deps.node, now: deps.now() });
    return formatIpamResult(invocation.cniVersion, addresses);
  } catch (error) {
    throw cniError(error);
  }
}

async function assign(
  deps: CniDeps,
  invocation: Invocation,
  pod: Parameters<typeof attributesOf>[1],
): Promise<Address[]> {
  const { conf } = invocation;
  const families = familiesOf(deps, invocation);
  const addresses = conf.args?.cni?.ips ?? conf.runtimeConfig?.ips;
  const pools = families.flatMap((family) => conf.ipam?.[family === 4 ? "ipv4_pools" : "ipv6_pools"] ?? []);
  const held = await deps.ipam.assign({
    ...{ handle: pod.handle, families, attributes: attributesOf(invocation, pod) },
    ...(pools.length > 0 && { pools }),
    ...(addresses && { addresses }),
  });
  return held.map(({ address }) => address);
}

/** The configuration's word, else every family that has a pool, and those of addresses asked for. */
function familiesOf(deps: CniDeps, { conf }: Invocation): Family[] {
  const asked = (conf.args?.cni?.ips ?? conf.runtimeConfig?.ips ?? []).map(({ family }) => family);
  const pooled = deps.families();
  const wanted = {
    4: conf.ipam?.assign_ipv4 ?? (pooled.includes(4) || asked.includes(4)),
    6: conf.ipam?.assign_ipv6 ?? (pooled.includes(6) || asked.includes(6)),
  };
  const families = ([4, 6] as const).filter((family) => wanted[family]);
  if (families.length > 0) return families;
  throw new CniError("no-address", NO_POOL.message, NO_POOL);
}

export const NO_POOL = {
  message: "no enabled pool gives addresses to pods",
  details: "Create one: margay apply -f with an IPPool; `margay get ippools` lists them.",
} as const;
