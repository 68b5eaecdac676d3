import { type AnyResource, isReadyEndpoint, keyOf, kindPrefix, parse } from "@margay/api";
import type { Entry } from "@margay/datastore";
import type { KubernetesObject, ListWatch } from "@margay/kubernetes";
import { type BalancerFacts, balancerFacts } from "./balancer-facts.ts";
import { unread } from "./follow.ts";
import { isMadeFrom, markedText } from "./mark.ts";
import { Mirror } from "./mirror.ts";
import type { Surroundings } from "./parts.ts";
import { amend } from "./put.ts";
import { Queued } from "./queued.ts";

export const FROM_SERVICE = "v1 Service";

/** What is kept of a Service. */
export interface ServiceFacts {
  readonly name: string;
  readonly namespace: string;
  readonly clusterIPs: readonly string[];
  readonly externalIPs: readonly string[];
  readonly loadBalancerIPs: readonly string[];
  readonly ports: readonly ServicePort[];
  readonly externalTrafficPolicy: "Cluster" | "Local";
  /** Of type LoadBalancer and ours. */
  readonly balancer?: BalancerFacts | undefined;
}

interface ServicePort {
  readonly name?: string;
  readonly protocol?: string;
  readonly port: number;
  readonly nodePort?: number;
}

/** Undefined for what has no address of its own: headless, ExternalName. */
export function serviceFacts(object: KubernetesObject, balancerClass: string): ServiceFacts | undefined {
  const { metadata, spec, status } = object;
  const { name, namespace = "default" } = metadata;
  const said = (spec ?? {}) as {
    type?: string;
    clusterIP?: string;
    clusterIPs?: string[];
    externalIPs?: string[];
    externalTrafficPolicy?: string;
    ports?: ServicePort[];
  };
  const { loadBalancer } = (status ?? {}) as { loadBalancer?: { ingress?: { ip?: string }[] } };
  const { clusterIP, clusterIPs = clusterIP ? [clusterIP] : [] } = said;
  if (said.type === "ExternalName" || clusterIPs.length === 0 || clusterIPs[0] === "None") return undefined;
  return {
    ...{ name, namespace, clusterIPs, externalIPs: said.externalIPs ?? [] },
    loadBalancerIPs: (loadBalancer?.ingress ?? []).flatMap(({ ip }) => (ip ? [ip] : [])),
    ports: (said.ports ?? []).map(({ name, protocol, port, nodePort }) => ({
      ...(name && { name }), // a Service of one port need not name it
      ...{ port, protocol: protocol ?? "TCP" },
      ...(nodePort && { nodePort }),
    })),
    externalTrafficPolicy: said.externalTrafficPolicy === "Local" ? "Local" : "Cluster",
    balancer: balancerFacts(object, balancerClass),
  };
}

/** The datastore's text of a service (pure). */
export function serviceText({ name, namespace, balancer: _, ...spec }: ServiceFacts, ready: boolean): string {
  const document = { apiVersion: "margay.dev/v1", kind: "Service", metadata: { name, namespace } };
  return markedText(parse({ ...document, spec: { ...spec, ready } }).resource as AnyResource, FROM_SERVICE);
}

/** Of a slice: its service, and whether any of its endpoints takes new connections. */
interface SliceFacts {
  readonly service: string;
  readonly ready: boolean;
}

function sliceFacts({ metadata, endpoints }: KubernetesObject): SliceFacts | undefined {
  const service = metadata.labels?.["kubernetes.io/service-name"];
  const all = (endpoints ?? []) as { conditions?: Parameters<typeof isReadyEndpoint>[0] }[];
  if (service === undefined) return undefined;
  const ready = all.some(({ conditions }) => isReadyEndpoint(conditions));
  return { service: `${metadata.namespace}/${service}`, ready };
}

export interface ServicesOptions {
  /** loadBalancerClass of Services that get their addresses from us; so do those without any. */
  readonly balancerClass: string;
  readonly onServices: () => void;
}

/** Services with their addresses and whether anybody stands behind them: what bgpd announces follows from it. */
export class Services extends Queued {
  readonly name = "services";
  readonly #surroundings: Surroundings;
  readonly services: ListWatch<ServiceFacts>;
  readonly #slices: ListWatch<SliceFacts>;
  readonly #mirror: Mirror<Entry>;
  /** Names of the ready slices of each service. */
  readonly #ready = new Map<string, Set<string>>();
  readonly #serviceOf = new Map<string, string>();

  constructor(surroundings: Surroundings, { balancerClass, onServices }: ServicesOptions) {
    super({ ...surroundings, event: "service-not-copied" });
    this.#surroundings = surroundings;
    const { store, sleep, random, troubles } = surroundings;
    this.services = surroundings.follow<ServiceFacts>({
      path: "/api/v1/services",
      keep: (object) => serviceFacts(object, balancerClass),
      onChange: (changes, synced) => {
        onServices();
        this.queue.add(changes.map(({ name }) => keyOfService(name)));
        if (synced && changes.length === 0) this.queue.add(this.all());
      },
    });
    this.#slices = surroundings.follow<SliceFacts>({
      ...{ path: "/apis/discovery.k8s.io/v1/endpointslices", keep: sliceFacts },
      onChange: (changes, synced) => {
        for (const { name, value } of changes) this.#setSlice(name, value);
        if (synced && changes.length === 0) this.queue.add(this.all());
      },
    });
    this.#mirror = new Mirror<Entry>({
      ...{ store, troubles, sleep, random, prefix: kindPrefix("Service"), keep: (entry) => entry },
      onChange: (keys, first) => this.queue.add(first ? this.all() : keys),
    });
  }

  protected sources() {
    return [this.#mirror, this.services, this.#slices];
  }

  readonly waitsFor = (): string | undefined =>
    this.#mirror.waitsFor("Services") ??
    unread(this.services, FROM_SERVICE) ??
    unread(this.#slices, "discovery.k8s.io/v1 EndpointSlice");

  protected *all(): Generator<string> {
    for (const [name] of this.services.entries()) yield keyOfService(name);
    for (const [key] of this.#mirror.entries()) yield key;
  }

  /** Names the service again only when somebody, or nobody, stands behind it now. */
  #setSlice(name: string, slice: SliceFacts | undefined): void {
    const former = this.#serviceOf.get(name);
    for (const service of new Set([former, slice?.service])) {
      if (service === undefined) continue;
      const slices = this.#ready.get(service) ?? new Set<string>();
      const before = slices.size > 0;
      if (slice?.service === service && slice.ready) slices.add(name);
      else slices.delete(name);
      if (slices.size > 0) this.#ready.set(service, slices);
      else this.#ready.delete(service);
      if (before !== slices.size > 0) this.queue.add([keyOfService(service)]);
    }
    if (slice) this.#serviceOf.set(name, slice.service);
    else this.#serviceOf.delete(name);
  }

  protected async settle(key: string): Promise<void> {
    if (this.waitsFor() !== undefined) return;
    const now = this.#mirror.get(key);
    const name = key.slice(kindPrefix("Service").length);
    const facts = this.services.get(name);
    if (!facts && !(now && isMadeFrom(now.value, FROM_SERVICE))) return;
    const text = facts ? serviceText(facts, this.#ready.has(name)) : null;
    await amend(this.#surroundings, this.#mirror, { key, step: () => text, seen: { entry: now } });
  }
}

/** Of "namespace/name". */
function keyOfService(full: string): string {
  const [namespace = "", name = ""] = full.split("/");
  return keyOf("Service", name, namespace);
}
