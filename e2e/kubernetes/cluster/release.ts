import { fileURLToPath } from "node:url";
import { ensure, items } from "./api.ts";
import { createNamespace } from "./api-server.ts";
import type { Cluster } from "./cluster.ts";
import type { PodSpec } from "./objects.ts";

export const CHART = fileURLToPath(new URL("../../../charts/margay", import.meta.url));
export const NAMESPACE = "margay-system";
const RELEASE = ["margay", CHART, "-n", NAMESPACE];

interface Status {
  readonly metadata: { readonly generation?: number };
  readonly spec?: { readonly replicas?: number };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly numberReady?: number;
    /** Of what was last written, in the lab. */
    readonly availableReplicas?: number;
    readonly updatedNumberScheduled?: number;
  };
}

/** Every DaemonSet of the release runs, as last written, on that many nodes. */
export async function daemonsReady(cluster: Cluster, nodes: number): Promise<boolean> {
  const sets = await items<Status>(cluster.admin, `/apis/apps/v1/namespaces/${NAMESPACE}/daemonsets`);
  const isReady = ({ metadata, status = {} }: Status) =>
    status.observedGeneration === metadata.generation &&
    status.numberReady === nodes &&
    status.updatedNumberScheduled === nodes;
  return sets.length > 0 && sets.every(isReady);
}

/** Every Deployment of the release runs as it was last written. */
async function deploymentsReady(cluster: Cluster): Promise<boolean> {
  const all = await items<Status>(cluster.admin, `/apis/apps/v1/namespaces/${NAMESPACE}/deployments`);
  return all.every(
    ({ metadata, spec, status = {} }) =>
      status.observedGeneration === metadata.generation && status.availableReplicas === spec?.replicas,
  );
}

/** What `kubectl get nodes` shows as Ready. */
export async function readyNodes(cluster: Cluster): Promise<number> {
  const nodes = await items<{ status?: { conditions?: { type: string; status: string }[] } }>(
    cluster.admin,
    "/api/v1/nodes",
  );
  return nodes.filter(({ status }) =>
    status?.conditions?.some(({ type, status: is }) => type === "Ready" && is === "True"),
  ).length;
}

/** `helm install`, until the daemons are ready on that many nodes, those nodes are, and the controllers. */
export async function install(cluster: Cluster, values: object, nodes: number): Promise<void> {
  const input = JSON.stringify(values);
  await cluster.must("helm", ["install", ...RELEASE, "--create-namespace", "-f", "-"], { input });
  await createNamespace(cluster.admin, NAMESPACE);
  await settled(cluster, nodes);
}

/** `helm upgrade` with these values alone, until all daemons run that are of them. */
export async function upgrade(cluster: Cluster, values: object, nodes: number): Promise<void> {
  await cluster.must("helm", ["upgrade", ...RELEASE, "-f", "-"], { input: JSON.stringify(values) });
  await settled(cluster, nodes);
}

export async function settled(cluster: Cluster, nodes: number): Promise<void> {
  let said = "";
  const isSettled = async () => {
    const isReady =
      (await readyNodes(cluster)) >= nodes &&
      (await daemonsReady(cluster, nodes)) &&
      (await deploymentsReady(cluster));
    if (isReady) return true;
    said = await cluster.describe();
    return false;
  };
  await cluster.eventually(() => `daemons and nodes are ready:\n${said}`, isSettled, 150_000);
}

/** Pods as namespace/name, node, labels, and what else their spec has; resolves when all of them run. Namespaces are made. */
export async function createPods(
  cluster: Cluster,
  pods: readonly (readonly [string, string, object, Partial<PodSpec>?])[],
): Promise<void> {
  for (const [id, nodeName, labels, more] of pods) {
    const [namespace = "", name = ""] = id.split("/");
    await createNamespace(cluster.admin, namespace, {});
    const spec = { nodeName, containers: [{ name: "app", image: "app" }], ...more };
    const metadata = { name, namespace, labels };
    const pod = { apiVersion: "v1", kind: "Pod", metadata, spec };
    await ensure(cluster.admin, `/api/v1/namespaces/${namespace}/pods`, pod);
  }
  let why = "";
  const run = async () => {
    why = await cluster.troubles();
    const names = cluster.kubelets.flatMap(({ parties }) => parties).map(({ name }) => name);
    return pods.every(([id]) => names.includes(id));
  };
  await cluster.eventually(() => `pods run: ${why}`, run, 60_000);
}
