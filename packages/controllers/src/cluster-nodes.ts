import { isDeepStrictEqual } from "node:util";
import { decode, encode, keyOf, kindPrefix, type Node, parseKey } from "@margay/api";
import { type Entry, resources } from "@margay/datastore";
import { deleteNode } from "@margay/ipam";
import { KubernetesError, type KubernetesObject, type ListWatch, nameOf } from "@margay/kubernetes";
import { tellWarning } from "./events.ts";
import { unread } from "./follow.ts";
import { isMadeFrom } from "./mark.ts";
import { Mirror } from "./mirror.ts";
import { FROM_NODE, type NodeFacts, nodeFacts, nodeResource } from "./nodes.ts";
import type { Surroundings } from "./parts.ts";
import { amend } from "./put.ts";
import { Queued } from "./queued.ts";

const PATH = "/api/v1/nodes";

/** Kubernetes' nodes as Nodes of the datastore; of a node that is deleted everything is freed. */
export class ClusterNodes extends Queued {
  readonly name = "nodes";
  readonly #surroundings: Surroundings;
  readonly #watch: ListWatch<NodeFacts>;
  readonly #mirror: Mirror<Entry>;

  /** @param after what must be in the datastore before a node's pods: with its Node an agent begins to make them */
  constructor(
    surroundings: Surroundings,
    { reflectorLabel, after }: { reflectorLabel: string; after: Queued },
  ) {
    super({ ...surroundings, event: "node-not-copied", after });
    this.#surroundings = surroundings;
    const { store, sleep, random, troubles } = surroundings;
    this.#watch = surroundings.follow<NodeFacts>({
      path: PATH,
      keep: (object) => nodeFacts(object, reflectorLabel),
      onChange: (changes, synced) => {
        this.queue.add(changes.map(({ name }) => keyOf("Node", name)));
        if (synced && changes.length === 0) this.queue.add(this.all());
      },
    });
    this.#mirror = new Mirror<Entry>({
      ...{ store, troubles, sleep, random, prefix: kindPrefix("Node"), keep: (entry) => entry },
      onChange: (keys, first) => this.queue.add(first ? this.all() : keys),
    });
  }

  protected sources() {
    return [this.#mirror, this.#watch];
  }

  readonly waitsFor = (): string | undefined =>
    this.#mirror.waitsFor("Nodes") ?? unread(this.#watch, FROM_NODE);

  protected *all(): Generator<string> {
    for (const [name] of this.#watch.entries()) yield keyOf("Node", name);
    for (const [key] of this.#mirror.entries()) yield key;
  }

  protected override waits(key: string): boolean {
    return this.#mirror.get(key) === undefined;
  }

  protected async settle(key: string): Promise<void> {
    const name = parseKey(key)?.name;
    if (name === undefined || !this.#mirror.synced) return;
    const facts = this.#watch.get(name);
    if (facts) return this.#put(key, facts);
    const now = this.#mirror.get(key);
    if (now && this.#watch.synced && isMadeFrom(now.value, FROM_NODE)) await this.#delete(key, name);
  }

  async #put(key: string, facts: NodeFacts): Promise<void> {
    const { server, now } = this.#surroundings;
    let refused: string | undefined;
    const step = (entry: Entry | undefined): string | undefined => {
      const known = entry && (decode(key, entry.value) as Node);
      const wanted = nodeResource(facts, known);
      refused = wanted.refused;
      const text = encode(wanted.node);
      return known && isDeepStrictEqual(decode(key, text), known) ? undefined : text;
    };
    await amend(this.#surroundings, this.#mirror, { key, step, seen: { entry: this.#mirror.get(key) } });
    if (refused === undefined) return;
    const about = { apiVersion: "v1", kind: "Node", name: facts.name };
    await tellWarning(server, about, { reason: "Refused", message: `${refused}; left out`, now: now() });
  }

  /**
   * What the node had goes first and its Node last: whoever is interrupted begins again. What a node that is back has made since
   * stays: its endpoints bear other revisions, and it is asked for again before its blocks are freed.
   */
  async #delete(key: string, name: string): Promise<void> {
    const { store, writes, log, now } = this.#surroundings;
    const endpoints = await this.#endpointsOf(name);
    if (!(await this.#isGone(name))) return;
    await this.#refusePods(name, {}); // a cache may lag, and what is freed is free
    await Promise.all(endpoints.map(([endpoint, revision]) => writes.delete(endpoint, revision)));
    if (!(await this.#isGone(name))) return;
    const freed = await deleteNode({ store, now }, name);
    await amend(this.#surroundings, undefined, { key, step: () => null });
    const facts = { endpoints: endpoints.length, handles: freed.length };
    log.info({ event: "node-deleted", name, ...facts }, `node ${name} is gone: all that it had is free`);
  }

  /** The API server itself is asked. Throws while pods are bound to the node, as far as its cache knows: that costs it little. */
  async #isGone(name: string): Promise<boolean> {
    const { server } = this.#surroundings;
    try {
      await server.call({ path: `${PATH}/${name}` });
      return false;
    } catch (error) {
      if (!(error instanceof KubernetesError) || error.code !== "not-found") throw error;
    }
    await this.#refusePods(name, { resourceVersion: "0" });
    return true;
  }

  /**
   * Pods that are bound to the node may run, and its kubelet may register it again. Kubernetes' own garbage collection ends them, a
   * minute later or so.
   * @param version none: not the API server's cache is asked, but its datastore for all pods there are
   */
  async #refusePods(node: string, version: { readonly resourceVersion?: string }): Promise<void> {
    const query = { fieldSelector: `spec.nodeName=${node}`, limit: "1", ...version };
    const asked = { path: "/api/v1/pods", query, metadataOnly: true };
    const { items } = (await this.#surroundings.server.call(asked)) as {
      items?: readonly KubernetesObject[] | null;
    };
    const [pod] = items ?? [];
    if (!pod) return;
    throw new Error(
      `the node is gone, but pods are bound to it, as ${nameOf(pod)}: they keep what they have`,
    );
  }

  /** Keys with their revisions. */
  async #endpointsOf(node: string): Promise<[string, number][]> {
    const all = await resources(this.#surroundings.store, "WorkloadEndpoint").list(undefined, () => {});
    return all
      .filter(({ spec }) => spec.node === node)
      .map(({ metadata: { name, namespace, resourceVersion } }) => [
        keyOf("WorkloadEndpoint", name, namespace),
        Number(resourceVersion),
      ]);
  }
}
