import { decode, keyOf, kindPrefix, type Node, parse, parseKey } from "@margay/api";
import type { Entry } from "@margay/datastore";
import { isMadeFrom, markedText } from "./mark.ts";
import { Mirror } from "./mirror.ts";
import type { Surroundings } from "./parts.ts";
import { amend } from "./put.ts";
import { Queued } from "./queued.ts";

/** The mark of what is made here. */
const FROM = "automatic host endpoint";

const SUFFIX = "-auto-hep";

/**
 * One host endpoint for each Node of the datastore (calico.md §6): on every interface, with the node's labels and addresses,
 * and a profile that allows what no policy says. Pure.
 */
export function autoHostEndpoint({ metadata, spec }: Node): string {
  const texts = [
    spec.bgp?.ipv4Address,
    spec.bgp?.ipv6Address,
    ...(spec.addresses ?? []).map(({ address }) => address),
    ...[spec.bgp?.ipv4IPIPTunnelAddr, spec.ipv4VXLANTunnelAddr, spec.ipv6VXLANTunnelAddr],
  ];
  const expectedIPs = texts.flatMap((text) => text?.split("/")[0] ?? []);
  const document = {
    ...{ apiVersion: "margay.dev/v1", kind: "HostEndpoint" },
    metadata: {
      name: metadata.name + SUFFIX,
      // The value that policies written for Calico select.
      labels: { ...metadata.labels, "projectcalico.org/created-by": "calico-kube-controllers" },
    },
    spec: {
      ...{ node: metadata.name, interfaceName: "*", expectedIPs: [...new Set(expectedIPs)].sort() },
      profiles: ["projectcalico-default-allow"],
    },
  };
  return markedText(parse(document).resource, FROM);
}

/** Host endpoints that follow the datastore's Nodes; those of others, of the same name, stay. Off, it removes its own. */
export class AutoHostEndpoints extends Queued {
  readonly name = "host endpoints";
  readonly #surroundings: Surroundings;
  readonly #isOn: boolean;
  readonly #nodes: Mirror<Entry>;
  readonly #endpoints: Mirror<Entry>;

  constructor(surroundings: Surroundings, { isOn }: { readonly isOn: boolean }) {
    super({ ...surroundings, event: "host-endpoint-not-made" });
    this.#surroundings = surroundings;
    this.#isOn = isOn;
    const { store, sleep, random, troubles } = surroundings;
    this.#nodes = new Mirror<Entry>({
      ...{ store, troubles, sleep, random, prefix: kindPrefix("Node"), keep: (entry) => entry },
      onChange: (keys, first) => this.queue.add(first ? this.all() : keys.map(endpointOf)),
    });
    this.#endpoints = new Mirror<Entry>({
      ...{ store, troubles, sleep, random, prefix: kindPrefix("HostEndpoint"), keep: (entry) => entry },
      onChange: (keys, first) => this.queue.add(first ? this.all() : keys),
    });
  }

  protected sources() {
    return [this.#nodes, this.#endpoints];
  }

  readonly waitsFor = (): string | undefined =>
    this.#nodes.waitsFor("Nodes") ?? this.#endpoints.waitsFor("HostEndpoints");

  protected *all(): Generator<string> {
    for (const [key] of this.#nodes.entries()) yield endpointOf(key);
    for (const [key] of this.#endpoints.entries()) yield key;
  }

  protected async settle(key: string): Promise<void> {
    if (this.waitsFor() !== undefined) return;
    const step = (now: Entry | undefined) =>
      now && !isMadeFrom(now.value, FROM) ? undefined : this.#wanted(key);
    await amend(this.#surroundings, this.#endpoints, {
      ...{ key, step, seen: { entry: this.#endpoints.get(key) } },
    });
  }

  /** Null: nothing. Throws when the Node cannot be read; it is tried again. */
  #wanted(key: string): string | null {
    const name = parseKey(key)?.name;
    if (!this.#isOn || !name?.endsWith(SUFFIX)) return null;
    const node = this.#nodes.get(keyOf("Node", name.slice(0, -SUFFIX.length)));
    return node ? autoHostEndpoint(decode(node.key, node.value) as Node) : null; // its key says so
  }
}

const endpointOf = (nodeKey: string): string =>
  keyOf("HostEndpoint", `${parseKey(nodeKey)?.name ?? ""}${SUFFIX}`);
