import type { ApiServer } from "@margay/kubernetes";
import { ensure, items, patchStatus, remove } from "./api.ts";
import { isReady, type Meta, type Pod, type PodSpec, type Workload } from "./objects.ts";

const NODES = "/api/v1/nodes";
const hashOf = (template: object): string => {
  let hash = 0;
  for (const char of JSON.stringify(template)) hash = (hash * 31 + char.charCodeAt(0)) >>> 0;
  return hash.toString(16);
};
const HASH = "lab.margay.dev/template";

/** What a controller-manager and a scheduler would do, as far as the chart needs it: pods of workloads, bound to nodes. */
export async function driveWorkloads(server: ApiServer, pods: readonly Pod[]): Promise<void> {
  const all = (await items<{ metadata: Meta }>(server, NODES)).map(({ metadata }) => metadata);
  const nodes = all.map(({ name }) => name).sort();
  const kinds = [
    ["daemonsets", "/apis/apps/v1/daemonsets"],
    ["deployments", "/apis/apps/v1/deployments"],
    ["statefulsets", "/apis/apps/v1/statefulsets"],
    ["jobs", "/apis/batch/v1/jobs"],
  ] as const;
  const owners = new Set<string | undefined>();
  for (const [kind, path] of kinds)
    for (const workload of await items<Workload>(server, path)) {
      owners.add(workload.metadata.uid);
      const fits = suits(workload.spec.template.spec, pods);
      const where = all.filter(fits).map(({ name }) => name);
      await drive(server, { kind, workload, pods, nodes: where.sort() });
    }
  for (const pod of pods)
    if (!pod.spec.nodeName && !pod.metadata.deletionTimestamp) await bind(server, pod, nodes[0] ?? "");
  // what a garbage collector would do
  const orphans = pods.filter(({ metadata }) =>
    metadata.ownerReferences?.some(({ uid }) => !owners.has(uid)),
  );
  for (const pod of orphans) await end(server, pod);
  for (const pod of pods)
    if (pod.spec.nodeName && !nodes.includes(pod.spec.nodeName)) await remove(server, pathOf(pod));
}

/** Which nodes a scheduler would consider: by their labels, and by the pods that must be there. */
function suits({ nodeSelector = {}, affinity = {} }: PodSpec, pods: readonly Pod[]): (node: Meta) => boolean {
  const has = (labels: Meta["labels"] = {}, wanted: object) =>
    Object.entries(wanted).every(([key, value]) => labels[key] === value);
  const beside = affinity.podAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? [];
  return ({ name, labels }) =>
    has(labels, nodeSelector) &&
    beside.every(({ labelSelector: { matchLabels } }) =>
      pods.some(({ metadata, spec }) => spec.nodeName === name && has(metadata.labels, matchLabels)),
    );
}

/** As a scheduler does. */
async function bind(server: ApiServer, pod: Pod, node: string): Promise<void> {
  const { name, namespace } = pod.metadata;
  const target = { apiVersion: "v1", kind: "Node", name: node };
  await ensure(server, `${pathOf(pod)}/binding`, {
    apiVersion: "v1",
    kind: "Binding",
    metadata: { name, namespace },
    target,
  });
}

interface Drive {
  readonly kind: "daemonsets" | "deployments" | "statefulsets" | "jobs";
  readonly workload: Workload;
  readonly pods: readonly Pod[];
  readonly nodes: readonly string[];
}

async function drive(server: ApiServer, { kind, workload, pods, nodes }: Drive): Promise<void> {
  const { metadata, spec } = workload;
  const mine = pods.filter((pod) => pod.metadata.ownerReferences?.some(({ uid }) => uid === metadata.uid));
  const count = nodes.length === 0 ? 0 : kind === "jobs" ? 1 : (spec.replicas ?? 1);
  const places =
    kind === "daemonsets" ? nodes : Array.from({ length: count }, (_, i) => nodes[i % nodes.length] ?? "");
  const hash = hashOf(spec.template);
  const isCurrent = (pod: Pod) => pod.metadata.annotations?.[HASH] === hash;
  const names = places.map((node, index) => `${metadata.name}-${kind === "daemonsets" ? node : index}`);
  for (const [index, name] of names.entries())
    if (!mine.some((pod) => pod.metadata.name === name))
      await create(server, { workload, name, node: places[index] ?? "", hash, kind });
  for (const pod of mine) if (!names.includes(pod.metadata.name)) await end(server, pod); // scaled down
  if (kind === "statefulsets") {
    // from the last to the first: an old one goes as it is, a new one is waited for
    const last = mine.toSorted(byName).findLast((pod) => !isCurrent(pod) || !isReady(pod));
    if (last && !isCurrent(last)) await end(server, last);
  } else if (kind !== "jobs") {
    // one at a time, the next when all of the new are ready
    const settled =
      mine.length >= places.length && mine.every((pod) => !pod.metadata.deletionTimestamp && isReady(pod));
    const old = mine.find((pod) => !isCurrent(pod));
    if (old && (settled || !isReady(old))) await end(server, old);
  }
  await tell(server, { kind, workload, mine, wanted: places.length, current: mine.filter(isCurrent) });
}

const byName = (a: Pod, b: Pod): number => a.metadata.name.localeCompare(b.metadata.name);

async function create(
  server: ApiServer,
  {
    workload,
    name,
    node,
    hash,
    kind,
  }: { workload: Workload; name: string; node: string; hash: string; kind: string },
): Promise<void> {
  const { metadata, spec } = workload;
  const owner = {
    apiVersion: kind === "jobs" ? "batch/v1" : "apps/v1",
    kind: KIND[kind],
    name: metadata.name,
    uid: metadata.uid,
    controller: true,
  };
  const pod = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      ...spec.template.metadata,
      name,
      labels: {
        ...spec.template.metadata.labels,
        ...(kind === "statefulsets" && { "statefulset.kubernetes.io/pod-name": name }),
      },
      annotations: { ...spec.template.metadata.annotations, [HASH]: hash },
      ownerReferences: [owner],
    },
    spec: {
      nodeName: node,
      ...spec.template.spec,
      volumes: [
        ...(spec.template.spec.volumes ?? []),
        ...(spec.volumeClaimTemplates ?? []).map(({ metadata: { name: claim } }) => ({
          ...{ name: claim, persistentVolumeClaim: { claimName: `${claim}-${name}` } },
        })),
      ],
    },
  };
  await ensure(server, `/api/v1/namespaces/${metadata.namespace}/pods`, pod);
}

const KIND: Readonly<Record<string, string>> = {
  daemonsets: "DaemonSet",
  deployments: "Deployment",
  statefulsets: "StatefulSet",
  jobs: "Job",
};

async function tell(
  server: ApiServer,
  {
    kind,
    workload,
    mine,
    wanted,
    current,
  }: {
    kind: Drive["kind"];
    workload: Workload;
    mine: readonly Pod[];
    wanted: number;
    current: readonly Pod[];
  },
): Promise<void> {
  const { metadata } = workload;
  if (kind === "jobs" && (workload as { status?: { completionTime?: string } }).status?.completionTime)
    return;
  const ready = mine.filter(isReady).length;
  const updated = current.filter(isReady).length;
  const observedGeneration = metadata.generation;
  const replicas = {
    observedGeneration,
    replicas: mine.length,
    readyReplicas: ready,
    updatedReplicas: current.length,
    availableReplicas: updated,
  };
  const statuses = {
    daemonsets: {
      observedGeneration,
      desiredNumberScheduled: wanted,
      currentNumberScheduled: mine.length,
      numberReady: ready,
      numberMisscheduled: 0,
      updatedNumberScheduled: current.length,
      numberAvailable: updated,
    },
    deployments: replicas,
    statefulsets: replicas,
    jobs: jobStatus(mine, (workload as { status?: { startTime?: string } }).status?.startTime),
  };
  const group = kind === "jobs" ? "batch" : "apps";
  await patchStatus(
    server,
    `/apis/${group}/v1/namespaces/${metadata.namespace}/${kind}/${metadata.name}`,
    statuses[kind],
  );
}

function jobStatus(mine: readonly Pod[], startTime = new Date().toISOString()): object {
  const now = new Date().toISOString();
  const phases = mine.map(({ status }) => status?.phase);
  const since = { startTime };
  if (phases.includes("Succeeded")) {
    const condition = (type: string) => ({ type, status: "True", lastTransitionTime: now });
    return {
      ...since,
      active: 0,
      succeeded: 1,
      completionTime: now,
      conditions: [condition("SuccessCriteriaMet"), condition("Complete")],
    };
  }
  return { ...since, active: 1 };
}

const pathOf = ({ metadata: { namespace, name } }: Pod): string =>
  `/api/v1/namespaces/${namespace}/pods/${name}`;
async function end(server: ApiServer, pod: Pod): Promise<void> {
  if (!pod.metadata.deletionTimestamp)
    await server.call({ method: "DELETE", path: pathOf(pod) }).catch(() => undefined); // gone already
}
