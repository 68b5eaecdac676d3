import { createHash } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import { ApiError, decode, encode, keyOf, type WorkloadEndpoint } from "@margay/api";
import { type Change, StoreError } from "@margay/datastore";
import { type Address, formatAddress, sameAddress } from "@margay/net";
import { addressSource, podIn, wishesOf } from "./addresses.ts";
import type { Configuration } from "./configuration.ts";
import { endpointAsSeen, hostInterfaceOf, remove } from "./del.ts";
import type { CniDeps } from "./deps.ts";
import { CniError } from "./errors.ts";
import { cniError } from "./failure.ts";
import type { Reply } from "./frame.ts";
import type { Invocation } from "./invocation.ts";
import { endpointOf } from "./pod.ts";
import { formatResult } from "./result.ts";
import { HOST_MAC } from "./wire.ts";

/**
 * CNI ADD, top to bottom. Repeating it for the same container gives the same addresses and leaves what is whole alone; a
 * failure takes back all that this call made, and nothing of a living attachment. Throws CniError.
 */
export async function add(deps: CniDeps, invocation: Invocation): Promise<Reply> {
  const { cniVersion, ifname, netns, conf } = invocation;
  if (netns === undefined) throw new CniError("invalid-environment", "CNI_NETNS is missing");
  refuseTaken(invocation);
  const named = podIn(deps, invocation);
  const pod = { ...named, ...deps, hostInterface: hostInterfaceOf(deps, named), now: deps.now() };
  const mtu = conf.mtu || deps.mtu();
  const asked = wishesOf(invocation);
  const source = addressSource(deps, invocation, pod);

  const mac = asked.mac ?? macOf(pod.handle);
  const key = keyOf("WorkloadEndpoint", pod.endpoint, pod.namespace);
  const endpoint = (addresses: readonly Address[]) => endpointOf(invocation, pod, { addresses, mac, asked });
  refuseInvalid(key, endpoint([]));
  const before = endpointAsSeen(deps, pod);
  const isRepeat = before?.spec.containerID === invocation.containerId;
  const wirer = new Wirer(async (addresses) => {
    const wiring = { hostInterface: pod.hostInterface, owner: pod.owner, netns, ifname, addresses };
    if (!isRepeat || (await deps.inspect(wiring)).length > 0) await deps.wire({ ...wiring, mtu, mac });
  });

  try {
    const { addresses, dns, wroteAlong } = await source.assign((chosen): Change[] => {
      const value = encode(endpoint(chosen));
      if (!before || isRepeat) wirer.begin(chosen); // an older container keeps its interface until this one has addresses
      deps.expect?.(key, value);
      return [{ type: "create", key, value }];
    });
    refuseAlone(asked.floatingIPs, addresses);
    const writing = wroteAlong ? undefined : write(deps, endpoint(addresses));
    await both(wirer.done(addresses), writing);

    await ready(deps, key);
    return formatResult({
      ...{ cniVersion, mtu, addresses, dns: dnsOf(conf, dns) },
      ...(conf.prevResult && { before: conf.prevResult }),
      hostInterface: { name: pod.hostInterface, mac: HOST_MAC },
      podInterface: { name: ifname, mac, netns },
    });
  } catch (error) {
    deps.expect?.(key, undefined);
    await wirer.settled();
    throw isRepeat ? cniError(error) : await undone(deps, invocation, error);
  }
}

/** The error to answer when all is taken back, or what is left is told. */
async function undone(deps: CniDeps, invocation: Invocation, cause: unknown): Promise<CniError> {
  const { code, message, details } = cniError(cause);
  try {
    // The endpoint is read: what was seen of it may be from before this call. Inside, only what is ours was made.
    await remove(
      { ...deps, localEndpoints: () => new Map() },
      { ...invocation, netns: undefined },
      "add-failed",
    );
    return cniError(cause);
  } catch (error) {
    const isSame = storeCode(error) !== undefined && storeCode(error) === storeCode(cause);
    const why = isSame ? "what this call made, for the same reason" : cniError(error).message;
    const left = `Left behind: ${why}; DEL removes it.`;
    return new CniError(code, message, { cause, details: `${details ?? ""} ${left}`.trim() });
  }
}

/** What the datastore refused, whoever passes it on. */
function storeCode(error: unknown): StoreError["code"] | undefined {
  if (error instanceof StoreError) return error.code;
  return error instanceof Error ? storeCode(error.cause) : undefined;
}

/**
 * Makes the interface while the addresses are on their way to the datastore: almost always it keeps the ones they were to
 * be. One that turns out to have others is made anew.
 */
class Wirer {
  readonly #wire: (addresses: readonly Address[]) => Promise<unknown>;
  #addresses: readonly Address[] | undefined;
  #wiring: Promise<unknown> = Promise.resolve();

  constructor(wire: (addresses: readonly Address[]) => Promise<unknown>) {
    this.#wire = wire;
  }

  /** At once: of all that an ADD waits for, the kernel's making of a veth takes longest, and another thread asks for it. */
  begin(addresses: readonly Address[]): void {
    this.#addresses = addresses;
    this.#wiring = this.settled().then(() => this.#wire(addresses));
    this.#wiring.catch(() => {}); // `done` hears of it
  }

  /** Resolves when the interface has these addresses. Throws what `wire` threw. */
  async done(addresses: readonly Address[]): Promise<void> {
    const begun = this.#addresses;
    const isSame =
      begun?.length === addresses.length && addresses.every((one, i) => sameAddress(one, begun[i]!)); // as long
    if (!isSame) this.begin(addresses);
    await this.#wiring;
  }

  async settled(): Promise<void> {
    await this.#wiring.catch(() => {});
  }
}

/** Waits for the end of both, so that nothing is still under way when they are taken back. */
async function both(...steps: readonly (Promise<unknown> | undefined)[]): Promise<void> {
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

/** What is asked for may be out of bounds, or the workload's name no name: said before anything is made. */
function refuseInvalid(key: string, endpoint: WorkloadEndpoint): void {
  try {
    decode(key, encode(endpoint));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const issues = error.issues.map(({ path, message }) => `${path}: ${message}`);
    throw new CniError("invalid-configuration", `its endpoint: ${issues.join("; ")}`, { cause: error });
  }
}

/** A floating address stands for one of the pod's of its own family. */
function refuseAlone(floatingIPs: readonly Address[], addresses: readonly Address[]): void {
  const lone = floatingIPs.find(({ family }) => !addresses.some((own) => own.family === family));
  if (!lone) return;
  const text = formatAddress(lone);
  throw new CniError(
    "invalid-configuration",
    `floating address ${text}: the pod has no IPv${lone.family} address`,
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
