import * as z from "zod";
import { address } from "../fields/addresses.ts";
import { nameOf } from "../fields/names.ts";
import { text } from "../fields/text.ts";
import { define, type SpecOf } from "../resource.ts";

const endpoint = z.object({
  addresses: z.array(address()).max(100).describe("Its addresses, of one family."),
  ready: z.boolean().default(true).describe("Whether it takes new connections."),
  nodeName: z.string().optional().describe("The node it runs on."),
});

const servicePort = z.object({
  name: z.string().optional().describe("Name of the port in the Service."),
  protocol: z.enum(["TCP", "UDP", "SCTP"]).default("TCP").describe("Protocol of the port."),
  port: z.int().min(1).max(65535).describe("Port that the endpoints listen on."),
});

const spec = z.object({
  service: text(nameOf).describe("Name of the Service, of the same namespace."),
  endpoints: z.array(endpoint).max(1000).default([]).describe("Who stands behind the Service."),
  ports: z.array(servicePort).max(20_000).default([]).describe("Ports of each endpoint."),
});

export type EndpointSliceSpec = SpecOf<typeof spec>;

export const endpointSlice = define({
  kind: "EndpointSlice",
  plural: "endpointslices",
  aliases: ["slice", "slices"],
  scope: "namespaced",
  description:
    "A part of what stands behind a Service of Kubernetes, for `services` matches of rules. Written by the controllers.",
  spec,
  columns: [
    { title: "SERVICE", value: ({ spec }) => spec.service },
    { title: "ENDPOINTS", value: ({ spec }) => spec.endpoints.length },
    { title: "PORTS", value: ({ spec }) => spec.ports.map(({ port }) => port).join(",") },
  ],
  example: {
    metadata: { name: "db-x7k2p", namespace: "shop" },
    spec: {
      service: "db",
      endpoints: [{ addresses: ["10.244.0.9"], nodeName: "n1" }],
      ports: [{ name: "sql", protocol: "TCP", port: 5432 }],
    },
  },
});
