import type { ApiServer } from "@margay/kubernetes";
import { ensure, items } from "./api.ts";
import { isReady, type Meta, type Pod } from "./objects.ts";

interface Service {
  readonly metadata: Meta;
  readonly spec: {
    readonly selector?: Readonly<Record<string, string>>;
    readonly publishNotReadyAddresses?: boolean;
    readonly ports?: readonly {
      readonly name?: string;
      readonly port: number;
      readonly protocol?: string;
      readonly targetPort?: number | string;
    }[];
  };
}

/** What the endpoint slice controller would do: one IPv4 slice per Service with a selector. `told` is what was written last. */
export async function driveSlices(
  server: ApiServer,
  pods: readonly Pod[],
  told: Map<string, string>,
): Promise<void> {
  for (const service of await items<Service>(server, "/api/v1/services")) {
    if (!service.spec.selector) continue;
    const slice = sliceOf(service, pods);
    const key = service.metadata.uid ?? "";
    const text = JSON.stringify(slice);
    if (told.get(key) === text) continue;
    const path = `/apis/discovery.k8s.io/v1/namespaces/${service.metadata.namespace}/endpointslices`;
    if (!told.has(key)) await ensure(server, path, slice);
    const { endpoints, ports } = slice;
    const body = { endpoints, ports };
    await server.call({ method: "PATCH", path: `${path}/${service.metadata.name}-lab`, body });
    told.set(key, text);
  }
}

/** Pure. */
export function sliceOf({ metadata, spec }: Service, pods: readonly Pod[]) {
  const selected = pods.filter(
    (pod) =>
      pod.metadata.namespace === metadata.namespace &&
      pod.status?.podIP !== undefined &&
      Object.entries(spec.selector ?? {}).every(([key, value]) => pod.metadata.labels?.[key] === value),
  );
  const owner = { apiVersion: "v1", kind: "Service", name: metadata.name, uid: metadata.uid };
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    addressType: "IPv4",
    metadata: {
      name: `${metadata.name}-lab`,
      namespace: metadata.namespace,
      labels: { "kubernetes.io/service-name": metadata.name },
      ownerReferences: [owner],
    },
    endpoints: selected.map((pod) => {
      const isTerminating = pod.metadata.deletionTimestamp !== undefined;
      const serves = spec.publishNotReadyAddresses === true || isReady(pod);
      return {
        addresses: [pod.status?.podIP],
        conditions: { ready: serves && !isTerminating, serving: serves, terminating: isTerminating },
        nodeName: pod.spec.nodeName,
        targetRef: { kind: "Pod", name: pod.metadata.name, namespace: pod.metadata.namespace },
      };
    }),
    ports: (selected.length === 0 ? [] : (spec.ports ?? [])).map(
      ({ name = "", port, protocol = "TCP", targetPort = port }) => ({
        ...{ name, protocol, port: portOf(targetPort, selected[0]) },
      }),
    ),
  };
}

/** A target port by name is the container's. */
function portOf(target: number | string, pod: Pod | undefined): number {
  if (typeof target === "number") return target;
  const ports = pod?.spec.containers.flatMap(({ ports: all = [] }) => all) ?? [];
  return ports.find(({ name }) => name === target)?.containerPort ?? 0;
}
