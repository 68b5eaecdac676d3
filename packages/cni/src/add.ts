import { createHash } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { keyOf, type WorkloadEndpoint } from "@margay/api";
import { StoreError } from "@margay/datastore";
import { addressSource, wishesOf } from "./addresses.ts";
import type { Configuration } from "./configuration.ts";
import type { CniDeps } from "./deps.ts";
import { CniError, cniError } from "./errors.ts";
import type { Reply } from "./frame.ts";
import type { Invocation } from "./invocation.ts";
import { endpointOf, podOf } from "./pod.ts";
import { formatResult } from "./result.ts";
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
  refuseTaken(invocation);
  const pod = {
    ...podOf(invocation, { node: deps.node, interfacePrefix: deps.interfacePrefix() }),
    ...deps,
    now: deps.now(),
  };
  const mtu = conf.mtu || deps.mtu();
  const asked = wishesOf(invocation);
  const source = addressSource(deps, invocation, pod);

  undo.push("release addresses", () => source.release("add-failed"));
  const { addresses, dns } = await source.assign();

  const mac = asked.mac ?? macOf(pod.handle);
  undo.push("remove interface", () => deps.unwire(pod.hostInterface));
  undo.push("delete endpoint", () => deps.endpoints.delete(pod.endpoint, pod.namespace));
  const writing = write(deps, endpointOf(invocation, pod, { addresses, mac, asked }));
  const turn = setImmediate(); // lets the request leave: wiring keeps this thread until it is done
  const wiring = turn.then(() =>
    deps.wire({
      ...{ hostInterface: pod.hostInterface, owner: pod.owner, netns, ifname, addresses, mtu, mac },
    }),
  );
  await both(wiring, writing);

  await ready(deps, keyOf("WorkloadEndpoint", pod.endpoint, pod.namespace));
  return formatResult({
    ...{ cniVersion, mtu, addresses, dns: dnsOf(conf, dns) },
    ...(conf.prevResult && { before: conf.prevResult }),
    hostInterface: { name: pod.hostInterface, mac: HOST_MAC },
    podInterface: { name: ifname, mac, netns },
  });
}

/** Waits for the end of both, so that nothing is still under way when they are taken back. */
async function both(...steps: readonly Promise<unknown>[]): Promise<void> {
  const failed = (await Promise.allSettled(steps)).find(({ status }) => status === "rejected");
  if (failed?.status === "rejected") throw failed.reason;
}

/**
 * First all that the kernel has told of the new interface is heard, which takes one reading of sockets between two turns:
 * what is known of an earlier one of that name would else pass for it.
 */
async function ready(deps: CniDeps, key: string): Promise<void> {
  await setImmediate();
  await setImmediate();
  await deps.ready(key);
}

/** A local unicast MAC of this sandbox's own: known before the interface is there, so that its endpoint can be written meanwhile. */
function macOf(handle: string): string {
  const hash = createHash("sha1").update(handle).digest("hex");
  return `02${hash.slice(0, 10)}`.replace(/..(?=.)/g, "$&:");
}

/** A plugin before us has made an interface of that name; ours would take its place. */
function refuseTaken({ conf, ifname, netns }: Invocation): void {
  const isTaken = conf.prevResult?.interfaces.some(
    ({ name, sandbox }) => name === ifname && sandbox === netns,
  );
  if (!isTaken) return;
  throw new CniError(
    "invalid-configuration",
    `a plugin before this one in the list has made ${ifname} already`,
  );
}

/** What the runtime was told (CNI conventions, "dns"), else the configuration, else IPAM. */
function dnsOf({ runtimeConfig, dns }: Configuration, ofIpam: object | undefined): object {
  const told = runtimeConfig?.dns;
  if (told) return { nameservers: told.servers, search: told.searches, options: told.options };
  return dns ?? ofIpam ?? {};
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
