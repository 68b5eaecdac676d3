import * as z from "zod";
import { address } from "../fields/addresses.ts";
import { define, type SpecOf } from "../resource.ts";

const addresses = z.array(address()).default([]);

const spec = z
  .object({
    clusterIPs: addresses.describe("Its cluster addresses."),
    externalIPs: addresses.describe("Its external addresses."),
    loadBalancerIPs: addresses.describe("Addresses of its load balancer."),
    ports: z
      .array(
        z.object({
          name: z.string().optional().describe("As the EndpointSlices call it."),
          protocol: z.enum(["TCP", "UDP", "SCTP"]).default("TCP").describe("Protocol of the port."),
          port: z.int().min(1).max(65535).describe("Port of the Service's addresses."),
          nodePort: z.int().min(1).max(65535).optional().describe("Port of every node."),
        }),
      )
      .optional()
      .describe("Its ports, for `margay explain`."),
    externalTrafficPolicy: z
      .enum(["Cluster", "Local"])
      .default("Cluster")
      .describe("Local: only nodes with a ready endpoint announce it."),
    ready: z.boolean().default(true).describe("Whether any endpoint is ready."),
  })
  .prefault({});

export type ServiceSpec = SpecOf<typeof spec>;

export const service = define({
  kind: "Service",
  plural: "services",
  aliases: ["svc"],
  scope: "namespaced",
  description: "What BGP announces of a Service of Kubernetes. Written by the controllers.",
  spec,
  columns: [
    { title: "CLUSTER-IPS", value: ({ spec }) => spec.clusterIPs.join(",") },
    { title: "LOADBALANCER-IPS", value: ({ spec }) => spec.loadBalancerIPs.join(",") },
    { title: "EXTERNAL-IPS", wide: true, value: ({ spec }) => spec.externalIPs.join(",") },
    { title: "POLICY", value: ({ spec }) => spec.externalTrafficPolicy },
  ],
  example: {
    metadata: { name: "web", namespace: "shop" },
    spec: { clusterIPs: ["10.96.0.20"], loadBalancerIPs: ["192.0.2.7"], externalTrafficPolicy: "Local" },
  },
});
