import { type IPAMBlock, keyOf, type WorkloadEndpoint } from "@margay/api";
import { resources, StoreError } from "@margay/datastore";
import { type Evidence, garbage, releaseFound } from "@margay/ipam";
import { type ApiServer, KubernetesError, type KubernetesObject, podUID } from "@margay/kubernetes";
import { formatAddress, parsePrefix } from "@margay/net";
import type { Surroundings } from "./parts.ts";

/** One container that holds addresses for a pod of Kubernetes, by the blocks' word. */
export interface Held {
  readonly containerID: string;
  readonly namespace: string;
  readonly pod: string;
  readonly podUID: string;
}

/** A static pod's, as its kubelet makes it (MD5). The API server's are UUIDs. */
const MANIFEST_HASH = /^[0-9a-f]{32}$/;

/**
 * Every container that holds addresses for a pod whose UID proves something (pure). Without one nothing does, and a static pod runs
 * whether the API server has a mirror of it or not: its node's agent sees its end.
 */
export function heldFor(blocks: readonly IPAMBlock[]): Held[] {
  const all = blocks.flatMap(({ spec }) =>
    Object.values(spec.allocations).flatMap(({ attributes }): [string, Held][] => {
      const { containerID, namespace, pod, podUID } = attributes;
      if (!containerID || !namespace || !pod || !podUID || MANIFEST_HASH.test(podUID)) return [];
      return [[containerID, { containerID, namespace, pod, podUID }]];
    }),
  );
  return [...new Map(all).values()];
}

/**
 * Which have been without their pod for long enough, and since when each of the others has been (pure).
 * @param isThere whether the cache has that very pod
 */
export function overdue(
  held: readonly Held[],
  isThere: (held: Held) => boolean,
  { since, nowMs, graceMs }: { since: ReadonlyMap<string, number>; nowMs: number; graceMs: number },
): { due: Held[]; since: Map<string, number> } {
  const missing = held.filter((one) => !isThere(one));
  const still = new Map(
    missing.map(({ containerID }): [string, number] => [containerID, since.get(containerID) ?? nowMs]),
  );
  return {
    due: missing.filter(({ containerID }) => nowMs - (still.get(containerID) ?? nowMs) >= graceMs),
    since: still,
  };
}

export interface GarbageOptions {
  readonly isThere: (held: Held) => boolean;
  /** Milliseconds that a pod must have been missing. */
  readonly graceMs: number;
  readonly monotonic: () => number;
}

/**
 * Frees what pods that do not exist any more still hold: endpoints and addresses. A pod is gone when the cache has missed it for
 * the grace period and the API server itself, asked then, does not have that UID. An address that was given anew meanwhile
 * bears another sequence number and stays.
 */
export class PodGarbage {
  readonly #surroundings: Surroundings;
  readonly #options: GarbageOptions;
  #since: ReadonlyMap<string, number> = new Map();

  constructor(surroundings: Surroundings, options: GarbageOptions) {
    this.#surroundings = surroundings;
    this.#options = options;
  }

  /** One look; resolves to how many containers were freed. */
  async collect(): Promise<number> {
    const { store, server, now, log } = this.#surroundings;
    const { isThere, graceMs, monotonic } = this.#options;
    const blocks = await resources(store, "IPAMBlock").list(undefined, () => {}); // a corrupt one is `ipam check`'s
    const found = overdue(heldFor(blocks), isThere, { since: this.#since, nowMs: monotonic(), graceMs });
    this.#since = found.since;
    const gone: Held[] = [];
    for (const one of found.due) if (!(await exists(server, one))) gone.push(one);
    if (gone.length === 0) return 0;
    const containers = new Set(gone.map(({ containerID }) => containerID));
    const evidence = await this.#removeEndpoints(containers);
    const free = garbage(
      blocks.map(({ spec }) => spec),
      { ...evidence, goneContainers: containers },
    );
    const freed = await releaseFound({ store, now }, free);
    const pods = gone.map(({ namespace, pod }) => `${namespace}/${pod}`);
    log.info({ event: "pods-gone", pods, handles: freed.length }, `${freed.length} vanished pods are freed`);
    return freed.length;
  }

  /** First, so that no address is given again while an endpoint calls it its own. @returns those that stay, as evidence */
  async #removeEndpoints(containers: ReadonlySet<string>): Promise<Pick<Evidence, "endpoints">> {
    const { store, written } = this.#surroundings;
    const endpoints = await resources(store, "WorkloadEndpoint").list(undefined, () => {});
    const staying: WorkloadEndpoint[] = [];
    for (const endpoint of endpoints) {
      if (!containers.has(endpoint.spec.containerID ?? "")) staying.push(endpoint);
      else if (await this.#remove(endpoint)) written("WorkloadEndpoint");
      else staying.push(endpoint);
    }
    const addresses = staying.flatMap(({ spec }) =>
      spec.ipNetworks.map((text): [string, string | undefined] => [
        formatAddress(parsePrefix(text)),
        spec.containerID,
      ]),
    );
    return { endpoints: new Map(addresses) };
  }

  /** False when somebody has written it since: it is another's now. */
  async #remove({ metadata }: WorkloadEndpoint): Promise<boolean> {
    const key = keyOf("WorkloadEndpoint", metadata.name, metadata.namespace);
    try {
      await this.#surroundings.store.delete(key, Number(metadata.resourceVersion));
      return true;
    } catch (error) {
      if (error instanceof StoreError && error.code === "conflict") return false;
      throw error;
    }
  }
}

/** Whether the API server has that very pod. */
async function exists(server: ApiServer, { namespace, pod, podUID: uid }: Held): Promise<boolean> {
  try {
    const path = `/api/v1/namespaces/${namespace}/pods/${pod}`;
    const { metadata } = (await server.call({ path, metadataOnly: true })) as KubernetesObject;
    return podUID(metadata) === uid;
  } catch (error) {
    if (error instanceof KubernetesError && error.code === "not-found") return false;
    throw error;
  }
}
