import { CniError, type Invocation } from "@margay/cni";
import {
  type ApiServer,
  KubernetesError,
  type KubernetesObject,
  ListWatch,
  podUID,
  type WatchStatus,
} from "@margay/kubernetes";

/** What of a pod its network depends on. */
export interface PodFacts {
  /** As its node calls it. */
  readonly uid: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly serviceAccountName: string | undefined;
  readonly ports: readonly { readonly name: string; readonly protocol: string; readonly port: number }[];
}

interface Container {
  readonly restartPolicy?: string;
  readonly ports?: readonly { name?: string; protocol?: string; containerPort: number }[];
}

/** Annotations that say something about the network; the others are of no use here. */
const ABOUT_NETWORK = /^(cni\.projectcalico\.org|qos\.projectcalico\.org|margay\.dev|kubernetes\.io)\//;

export const networkAnnotations = (annotations: Readonly<Record<string, string>> = {}) =>
  Object.fromEntries(Object.entries(annotations).filter(([name]) => ABOUT_NETWORK.test(name)));

export function podFacts({ metadata, spec }: KubernetesObject): PodFacts {
  const {
    serviceAccountName,
    containers = [],
    initContainers = [],
  } = (spec ?? {}) as {
    serviceAccountName?: string;
    containers?: readonly Container[];
    initContainers?: readonly Container[];
  };
  const sidecars = initContainers.filter(({ restartPolicy }) => restartPolicy === "Always");
  const ports = [...containers, ...sidecars].flatMap((container) => container.ports ?? []);
  return {
    ...{ uid: podUID(metadata), labels: metadata.labels ?? {}, serviceAccountName },
    annotations: networkAnnotations(metadata.annotations),
    ports: ports.flatMap(({ name, protocol = "TCP", containerPort: port }) =>
      name ? [{ name, protocol, port }] : [],
    ),
  };
}

/** The call with what Kubernetes says of the pod; what the runtime itself said wins (pure). */
export function described(
  invocation: Invocation,
  pod: PodFacts,
  namespaceAnnotations: Readonly<Record<string, string>>,
): Invocation {
  const { conf } = invocation;
  const said = conf.args?.cni;
  const labels = Object.entries(pod.labels).map(([key, value]) => ({ key, value }));
  const cni = {
    ...said,
    labels: [...labels, ...(said?.labels ?? [])],
    annotations: { ...pod.annotations, ...said?.annotations },
    namespaceAnnotations: { ...namespaceAnnotations, ...said?.namespaceAnnotations },
    ...(pod.serviceAccountName && { serviceAccountName: pod.serviceAccountName }),
    ...(pod.ports.length > 0 && { ports: [...pod.ports] }),
  };
  return { ...invocation, conf: { ...conf, args: { ...conf.args, cni } } };
}

export interface OwnPodsOptions {
  readonly server: ApiServer;
  readonly node: string;
  readonly onStatus: (status: WatchStatus) => void;
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly namespaceAnnotations: (namespace: string) => Readonly<Record<string, string>>;
}

/** The kubelet makes a pod's network within a second of learning of it: an ADD waits so long for an answer. */
const GET_MS = 3000;

/** This node's pods, as the API server tells; one that is not known yet is asked for. */
export class OwnPods {
  readonly #options: OwnPodsOptions;
  readonly #watch: ListWatch<PodFacts>;

  constructor(options: OwnPodsOptions) {
    this.#options = options;
    const { server, node, onStatus, sleep } = options;
    this.#watch = new ListWatch<PodFacts>({
      ...{ server, path: "/api/v1/pods", query: { fieldSelector: `spec.nodeName=${node}` } },
      ...{ keep: podFacts, onChange: () => {}, onStatus, sleep },
      random: Math.random,
      now: () => performance.now(),
    });
  }

  /** Rejects only for a fault of the program. */
  start(): Promise<void> {
    return this.#watch.start();
  }

  stop(): Promise<void> {
    return this.#watch.stop();
  }

  /**
   * Throws CniError 11 when the pod is not known and the API server does not answer: without its labels no policy
   * would select it; also when its name is another's now, of which it must get nothing. A pod that the API server does not have, nobody's policy selects either.
   */
  async describe(invocation: Invocation): Promise<Invocation> {
    const { K8S_POD_NAME: name, K8S_POD_NAMESPACE: namespace, K8S_POD_UID: uid } = invocation.args;
    if (!name || !namespace) return invocation;
    const pod = await this.#find(`${namespace}/${name}`, uid);
    if (!pod) return invocation;
    return described(invocation, pod, this.#options.namespaceAnnotations(namespace));
  }

  async #find(full: string, uid: string | undefined): Promise<PodFacts | undefined> {
    const known = this.#watch.get(full);
    if (known && (uid === undefined || known.uid === uid)) return known;
    const path = `/api/v1/namespaces/${full.replace("/", "/pods/")}`;
    let found: PodFacts;
    try {
      found = podFacts((await this.#options.server.call({ path, timeoutMs: GET_MS })) as KubernetesObject);
    } catch (error) {
      if (error instanceof KubernetesError && error.code === "not-found") return undefined;
      const why = error instanceof Error ? error.message : String(error);
      throw new CniError("try-again-later", `pod ${full} is not known yet: ${why}`, { cause: error });
    }
    if (uid === undefined || found.uid === uid) return found;
    throw new CniError("try-again-later", `pod ${full} has UID ${found.uid} now, not ${uid}`);
  }
}
