import { decode, encode, kindPrefix, type WorkloadEndpoint } from "@margay/api";
import type { Entry } from "@margay/datastore";
import { type KubernetesObject, type ListWatch, podUID } from "@margay/kubernetes";
import { unread } from "./follow.ts";
import { Mirror } from "./mirror.ts";
import type { Surroundings } from "./parts.ts";
import { amend } from "./put.ts";
import { Queued } from "./queued.ts";

/** What is kept of a pod: there are 100,000. */
export interface PodFacts {
  /** As its node calls it. */
  readonly uid: string;
  /** As `labelText` writes them. */
  readonly labels: string;
}

/** What is kept of an endpoint. */
interface EndpointFacts {
  /** "namespace/name" of its pod; undefined: not one of Kubernetes. */
  readonly pod: string | undefined;
  readonly labels: string;
}

/** Labels that ADD gives by itself; they are not the pod's. */
const OURS = "projectcalico.org/";

/** Equal labels, equal text, whatever their order; those that we give ourselves are left out. */
export function labelText(labels: Readonly<Record<string, string>> = {}): string {
  const lines = Object.entries(labels).flatMap(([name, value]) =>
    name.startsWith(OURS) ? [] : [`${name}=${value}`],
  );
  return shared(lines.sort().join("\n"));
}

/** Replicas have the same labels, and an endpoint has its pod's: one string for all of them. */
const texts = new Map<string, string>();
const MAX_TEXTS = 50_000;

function shared(text: string): string {
  const known = texts.get(text);
  if (known !== undefined) return known;
  if (texts.size >= MAX_TEXTS) texts.clear(); // those in use stay with their users
  texts.set(text, text);
  return text;
}

const labelsIn = (text: string): [string, string][] =>
  text === "" ? [] : text.split("\n").map((line) => split(line, line.indexOf("=")));

const split = (line: string, at: number): [string, string] => [line.slice(0, at), line.slice(at + 1)];

export const podFacts = ({ metadata }: KubernetesObject): PodFacts => ({
  uid: podUID(metadata) ?? "",
  labels: labelText(metadata.labels),
});

/** The endpoint's text with the pod's labels and its own of ours (pure). */
export function relabelled(key: string, value: string, labels: string): string {
  const endpoint = decode(key, value) as WorkloadEndpoint; // its key says so
  const given = Object.entries(endpoint.metadata.labels ?? {}).filter(([name]) => name.startsWith(OURS));
  return encode({
    ...endpoint,
    metadata: {
      ...endpoint.metadata,
      labels: { ...Object.fromEntries(labelsIn(labels)), ...Object.fromEntries(given) },
    },
  });
}

/** Labels of pods onto their endpoints, which CNI makes and removes. Both sides are held as text, 100,000 of each. */
export class PodLabels extends Queued {
  readonly name = "pods";
  readonly #surroundings: Surroundings;
  readonly pods: ListWatch<PodFacts>;
  readonly #endpoints: Mirror<EndpointFacts>;
  /** Keys of a pod's endpoints. */
  readonly #keysOf = new Map<string, string | readonly string[]>();

  constructor(surroundings: Surroundings) {
    super({ ...surroundings, event: "labels-not-copied" });
    this.#surroundings = surroundings;
    const { store, sleep, random, troubles } = surroundings;
    this.pods = surroundings.follow<PodFacts>({
      ...{ path: "/api/v1/pods", metadataOnly: true, keep: podFacts },
      onChange: (changes) => {
        for (const { name } of changes) this.queue.add(this.#stale(this.#keys(name)));
      },
    });
    this.#endpoints = new Mirror<EndpointFacts>({
      ...{ store, troubles, sleep, random, prefix: kindPrefix("WorkloadEndpoint") },
      keep: (entry) => this.#keep(entry),
      onChange: (keys) => this.queue.add(this.#stale(keys)),
    });
  }

  /** Pods wait for the endpoints: reading 100,000 of each at once would take the room of both. */
  override async start(): Promise<unknown> {
    return Promise.all([this.#endpoints.start(), this.#endpoints.whenSynced.then(() => this.pods.start())]);
  }

  readonly waitsFor = (): string | undefined =>
    this.#endpoints.waitsFor("WorkloadEndpoints") ?? unread(this.pods, "v1 Pod");

  protected sources() {
    return [this.#endpoints, this.pods];
  }

  protected *all(): Generator<string> {
    for (const [key] of this.#endpoints.entries()) if (this.#missing(key) !== undefined) yield key;
  }

  #keep(entry: Entry): EndpointFacts {
    const { metadata, spec } = parsed(entry.value);
    const pod = spec?.orchestrator === "k8s" && spec.pod ? `${metadata?.namespace}/${spec.pod}` : undefined;
    if (pod !== undefined) {
      const known = [this.#keysOf.get(pod) ?? []].flat();
      if (!known.includes(entry.key))
        this.#keysOf.set(pod, known.length === 0 ? entry.key : [...known, entry.key]);
    }
    return { pod, labels: labelText(metadata?.labels) };
  }

  #keys(pod: string): string[] {
    const found = [this.#keysOf.get(pod) ?? []].flat();
    const alive = found.filter((key) => this.#endpoints.get(key) !== undefined);
    if (alive.length === 0) this.#keysOf.delete(pod);
    return alive;
  }

  /** The pod's labels, if its endpoint has others. */
  #missing(key: string): string | undefined {
    const endpoint = this.#endpoints.get(key);
    const pod = endpoint?.pod === undefined ? undefined : this.pods.get(endpoint.pod);
    return pod && endpoint?.labels !== pod.labels ? pod.labels : undefined;
  }

  /** Nearly all of 100,000 are right: they are not even queued. */
  #stale(keys: readonly string[]): string[] {
    return keys.filter((key) => this.#missing(key) !== undefined);
  }

  protected async settle(key: string): Promise<void> {
    const labels = this.#missing(key);
    if (labels === undefined) return;
    const step = (now: Entry | undefined) => now && relabelled(key, now.value, labels);
    await amend(this.#surroundings, this.#endpoints, { key, step });
  }
}

/** A corrupt one is its agent's to report; nothing is done to it. */
function parsed(value: string): Partial<WorkloadEndpoint> {
  try {
    return JSON.parse(value) as Partial<WorkloadEndpoint>; // decoded in earnest before anything is written
  } catch {
    return {};
  }
}
