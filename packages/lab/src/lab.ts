import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { type AnyResource, parseFile } from "@margay/api";
import { apply, type Terminal } from "@margay/ctl";
import { etcdStore, raiseBarrier, resources, type Store } from "@margay/datastore";
import { pcOut as pc } from "./colours.ts";
import { daemonKinds, daemonReady, nodeDaemons } from "./daemons.ts";
import { LabError } from "./errors.ts";
import { ENDPOINT, etcd, etcdReady } from "./etcd.ts";
import { layCables } from "./fabric.ts";
import { type Matrix, type MatrixRequest, probeMatrix } from "./matrix.ts";
import { runDir } from "./places.ts";
import { addPod, type Pod, type PodRequest, podKey, removePod } from "./pods.ts";
import { type Party, Prober, Responder } from "./probe.ts";
import { Processes, type ProcessStatus } from "./processes.ts";
import type { Step } from "./progress.ts";
import { type Layout, type Topology, topology } from "./topology.ts";
import { bird, birdReady } from "./tor.ts";

export interface LabOptions extends Layout {
  readonly name: string;
  /** Words that run the margay executable. */
  readonly margay: readonly string[];
  /** The CNI executable. */
  readonly relay: string;
  /** Folder for the logs of what the lab runs. */
  readonly logs: string;
  readonly pidNamespace: boolean;
}

/** Ports on which every pod answers, TCP and UDP. */
const POD_PORTS = [80, 8080] as const;
const LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const GRACE_MS = 3000;
const WAIT_MS = 30_000;

/** A cluster on this machine; to be made inside the lab's own namespaces. */
export class Lab {
  readonly options: LabOptions;
  readonly topology: Topology;
  readonly processes: Processes;
  readonly store: Store;
  readonly #pods = new Map<string, Pod>();
  readonly #responders = new Map<string, Responder>();
  readonly #namespaces = new Set<string>();
  readonly #prober = new Prober();

  private constructor(options: LabOptions, onExit: (status: ProcessStatus, lastWords: string) => void) {
    this.options = options;
    this.topology = topology(options);
    this.processes = new Processes({ logs: options.logs, dieWithUs: !options.pidNamespace, onExit });
    this.store = etcdStore({ endpoints: [ENDPOINT] });
  }

  /** Everything up to "every daemon is ready". Whatever it throws, the caller ends the namespaces, and with them all of it. */
  static async start(
    options: LabOptions,
    { step, onExit }: { step: Step; onExit: (status: ProcessStatus, lastWords: string) => void },
  ): Promise<Lab> {
    const lab = new Lab(options, onExit);
    const { nodes, resources: described } = lab.topology;
    await step("network: bridge, nodes, ToR", () => layCables(nodes));
    await step("etcd", async () => {
      lab.processes.start(etcd());
      await etcdReady();
    });
    await step("resources: nodes, pools, BGP", () => lab.apply(described));
    await step("ToR router (BIRD)", async () => {
      lab.processes.start(bird(nodes));
      await birdReady();
    });
    const kinds = daemonKinds(options).join(" and ");
    await step(`${kinds} on ${nodes.length} nodes`, () => lab.#startDaemons());
    return lab;
  }

  async #startDaemons(): Promise<void> {
    const kinds = daemonKinds(this.options);
    const daemons = this.topology.nodes.flatMap((node) => nodeDaemons(node, kinds, this.options.margay));
    for (const { process } of daemons) this.processes.start(process);
    await Promise.all(daemons.map((daemon) => daemonReady(daemon, this.processes)));
  }

  /** What `margay apply` does: all checked, then written. Throws CtlError. */
  apply(all: readonly AnyResource[]): Promise<void> {
    const documents = all.map((resource) => ({ origin: "lab", resource }));
    return apply(this.store, documents, { output: "table" }, SILENT);
  }

  /** Resolves when every daemon of every node has put into its kernel all that was written before. LabError "timeout". */
  async wait(): Promise<void> {
    const expected = this.topology.nodes.flatMap(({ name: node }) =>
      daemonKinds(this.options).map((daemon) => ({ node, daemon })),
    );
    const { missing } = await raiseBarrier(this.store, {
      id: randomUUID(),
      expected,
      timeoutMs: WAIT_MS,
      sleep,
    });
    if (missing.length === 0) return;
    const who = missing.map(({ node, daemon, why }) => `${node}/${daemon}: ${why}`).join("; ");
    throw new LabError("timeout", `not applied everywhere: ${who}`);
  }

  get pods(): readonly Pod[] {
    return [...this.#pods.values()];
  }

  /** A pod through the CNI executable, answering on its ports. LabError "invalid", "exists", "not-found", "cni". */
  async addPod(request: PodRequest): Promise<Pod> {
    for (const word of [request.name, request.namespace]) {
      if (!LABEL.test(word))
        throw new LabError(
          "invalid",
          `"${word}" is no DNS label (lower case letters, digits, "-"; at most 63)`,
        );
    }
    if (!this.topology.nodes.some(({ name }) => name === request.node))
      throw new LabError("not-found", `no node ${request.node}`);
    const key = podKey(request);
    if (this.#pods.has(key)) throw new LabError("exists", `there is a pod ${key} already`);
    await this.#ensureNamespace(request.namespace);
    const pod = await addPod(this.#runtime, request);
    this.#pods.set(key, pod);
    this.#responders.set(key, await Responder.open(partyOf(pod), POD_PORTS));
    return pod;
  }

  /** LabError "not-found", "cni". */
  async removePod(id: { readonly namespace: string; readonly name: string }): Promise<void> {
    const pod = this.pod(id);
    await removePod(this.#runtime, pod); // one that is refused leaves the pod as it is, and answering
    this.#responders.get(podKey(pod))?.close();
    this.#responders.delete(podKey(pod));
    this.#pods.delete(podKey(pod));
  }

  /** LabError "not-found". */
  pod(id: { readonly namespace: string; readonly name: string }): Pod {
    const pod = this.#pods.get(podKey(id));
    if (!pod)
      throw new LabError(
        "not-found",
        `no pod ${podKey(id)}; there are: ${[...this.#pods.keys()].join(", ") || "none"}`,
      );
    return pod;
  }

  /** Sets labels of a pod, or removes those that are null, as the API server of a cluster would. LabError "not-found". */
  async labelPod(
    id: { readonly namespace: string; readonly name: string },
    labels: LabelChange,
  ): Promise<void> {
    const { containerID, namespace } = this.pod(id);
    const endpoints = resources(this.store, "WorkloadEndpoint");
    const endpoint = (await endpoints.list(namespace)).find(({ spec }) => spec.containerID === containerID);
    if (!endpoint) throw new LabError("not-found", `pod ${podKey(id)} has no WorkloadEndpoint`);
    const changed = await endpoints.modify(endpoint.metadata.name, namespace, (now) => ({
      ...now,
      metadata: { ...now.metadata, labels: relabel(now.metadata.labels ?? {}, labels) },
    }));
    this.#pods.set(podKey(id), { ...this.pod(id), labels: ownLabels(changed.metadata.labels ?? {}) });
  }

  /** Sets labels of a namespace, which is its Profile; makes the namespace if need be. */
  async labelNamespace(namespace: string, labels: LabelChange): Promise<void> {
    const profile = await resources(this.store, "Profile").get(`kns.${namespace}`);
    const now = Object.entries(profile?.spec.labelsToApply ?? {}).map(([key, value]) => [
      key.replace(/^pcns\./, ""),
      value,
    ]);
    await this.apply(namespaceResources(namespace, relabel(Object.fromEntries(now), labels)));
  }

  /** As an API server would have it before the pod; not asked again, so that pods can be tried while the datastore is away. */
  async #ensureNamespace(namespace: string): Promise<void> {
    if (this.#namespaces.has(namespace)) return;
    const profile = await resources(this.store, "Profile").get(`kns.${namespace}`);
    if (!profile) await this.apply(namespaceResources(namespace, {}));
    this.#namespaces.add(namespace);
  }

  /** Real connections between all pods. */
  probe(request: MatrixRequest): Promise<Matrix> {
    return probeMatrix(this.#prober, this.pods.map(partyOf), request);
  }

  async stop(): Promise<void> {
    for (const responder of this.#responders.values()) responder.close();
    await this.store.close();
    await this.processes.stop(GRACE_MS);
  }

  get #runtime() {
    return { relay: this.options.relay, socket: (node: string) => `${runDir(node)}/cni.sock` };
  }
}

const SILENT: Terminal = { print: () => {}, warn: () => {}, colours: pc };
const sleep = (ms: number, signal: AbortSignal): Promise<void> =>
  delay(ms, undefined, { signal }).catch(() => undefined); // abort: early

/** null removes. */
export type LabelChange = Readonly<Record<string, string | null>>;

function relabel(now: Readonly<Record<string, string>>, change: LabelChange): Record<string, string> {
  const merged = Object.entries({ ...now, ...change });
  return Object.fromEntries(merged.filter((pair): pair is [string, string] => pair[1] !== null));
}

const ownLabels = (labels: Readonly<Record<string, string>>) =>
  Object.fromEntries(Object.entries(labels).filter(([key]) => !key.startsWith("projectcalico.org/")));

const partyOf = (pod: Pod): Party => ({
  name: podKey(pod),
  namespacePath: pod.namespacePath,
  addresses: pod.addresses.map((address) => address.replace(/\/\d+$/, "")),
});

/** A v1 Namespace, converted as `margay apply` converts it. */
function namespaceResources(name: string, labels: Readonly<Record<string, string>>): AnyResource[] {
  const document = { apiVersion: "v1", kind: "Namespace", metadata: { name, labels } };
  return parseFile(JSON.stringify(document), "lab").map(({ resource }) => resource);
}
