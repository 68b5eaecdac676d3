import * as z from "zod";
import { nameOf } from "../fields/names.ts";
import { text } from "../fields/text.ts";

const SERVICE_NAME = "kubernetes.io/service-name";

/** discovery.k8s.io/v1 EndpointSlice; what says nothing of addresses and ports is left out. */
export const kubernetesEndpointSlice = z.object({
  apiVersion: z.literal("discovery.k8s.io/v1"),
  kind: z.literal("EndpointSlice"),
  metadata: z
    .object({
      name: text(nameOf),
      namespace: text(nameOf).default("default"),
      labels: z.record(z.string(), z.string()).optional(),
    })
    .loose(),
  addressType: z.enum(["IPv4", "IPv6", "FQDN"]),
  endpoints: z
    .array(
      z
        .object({
          addresses: z.array(z.string()),
          conditions: z
            .object({ ready: z.boolean().optional(), terminating: z.boolean().optional() })
            .loose()
            .optional(),
          nodeName: z.string().optional(),
        })
        .loose(),
    )
    .default([]),
  ports: z
    .array(
      z
        .object({
          name: z.string().optional(),
          protocol: z.enum(["TCP", "UDP", "SCTP"]).default("TCP"),
          port: z.int().optional(),
        })
        .loose(),
    )
    .default([]),
});

/**
 * Whether an endpoint of Kubernetes takes new connections; one that says nothing does. One that is ending does not, though a
 * Service with publishNotReadyAddresses calls it ready to the end.
 */
export const isReadyEndpoint = ({
  ready = true,
  terminating = false,
}: {
  readonly ready?: boolean | undefined;
  readonly terminating?: boolean | undefined;
} = {}): boolean => ready && !terminating;

/**
 * Ours, of the service that its label names (without one, of a service of its own name). Names
 * (FQDN) are no addresses, and a port without number matches nothing.
 */
export function endpointSliceFrom({
  metadata,
  addressType,
  endpoints,
  ports,
}: z.output<typeof kubernetesEndpointSlice>): object {
  const { name, namespace, labels } = metadata;
  return {
    apiVersion: "margay.dev/v1",
    kind: "EndpointSlice",
    metadata: { name, namespace },
    spec: {
      service: labels?.[SERVICE_NAME] ?? name,
      endpoints:
        addressType === "FQDN"
          ? []
          : endpoints.map(({ addresses, conditions, nodeName }) => ({
              addresses,
              ready: isReadyEndpoint(conditions),
              ...(nodeName !== undefined && { nodeName }),
            })),
      ports: ports
        .filter(({ port }) => port !== undefined)
        .map(({ name, protocol, port }) => ({ name, protocol, port })),
    },
  };
}
