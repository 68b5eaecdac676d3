import * as z from "zod";
import { address, familiesOf, net, prefixIn } from "../fields/addresses.ts";
import { interfaceName } from "../fields/names.ts";
import { text } from "../fields/text.ts";
import { define, type SpecOf } from "../resource.ts";

const host = text((value) => {
  const prefix = prefixIn(value);
  return prefix?.length === (prefix?.family === 4 ? 32 : 128)
    ? undefined
    : "must be one address: /32 or /128";
});

const mac = text((value) =>
  /^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$/.test(value)
    ? undefined
    : "must be a MAC address such as ee:ee:ee:ee:ee:ee",
);

/** A port with a name. */
export const endpointPort = z.object({
  name: z.string().min(1).describe("Name, for policies."),
  protocol: z.union([z.string(), z.number()]).describe("TCP, UDP or SCTP."),
  port: z.int().min(1).max(65535).describe("Port in the pod."),
  hostPort: z.int().min(0).max(65535).optional().describe("Port on the host."),
  hostIP: address().optional().describe("Address of the host port."),
});

const bandwidth = (what: string) =>
  z.int().min(1000).max(1e15).optional().describe(`${what}, bits per second.`);
const burst = (what: string) => z.int().min(1000).max(34_359_738_368).optional().describe(what);

const packetRate = (what: string) => z.int().min(1).max(10_000).optional().describe(what);

const connections = (what: string) => z.int().min(1).max(4_294_967_295).optional().describe(what);

/** Limits of what goes into (ingress) and out of (egress) the pod. */
const qosControls = z.object({
  ingressBandwidth: bandwidth("What the pod may receive"),
  ingressBurst: burst("Bits that may come at once; a tenth of a second's when absent."),
  ingressPeakrate: bandwidth("How fast a burst may be"),
  ingressMinburst: burst("Bytes that may come at that rate at once."),
  egressBandwidth: bandwidth("What the pod may send"),
  egressBurst: burst("Bits that may go at once; a tenth of a second's when absent."),
  egressPeakrate: bandwidth("How fast a burst may be"),
  egressMinburst: burst("Bytes that may go at that rate at once."),
  ingressPacketRate: packetRate("Packets a second that it may receive."),
  ingressPacketBurst: packetRate("Packets that may come at once; 5 when absent."),
  egressPacketRate: packetRate("Packets a second that it may send."),
  egressPacketBurst: packetRate("Packets that may go at once; 5 when absent."),
  ingressMaxConnections: connections("TCP connections that others may have to it."),
  egressMaxConnections: connections("TCP connections that it may have to others."),
  dscp: z
    .int()
    .min(0)
    .max(63)
    .optional()
    .describe("Differentiated services code point (RFC 2474) of what it sends out of the cluster."),
});

const spec = z
  .object({
    orchestrator: z.string().describe('Who made the pod: "k8s" or "cni".'),
    workload: z.string().optional().describe("Name of the workload, outside Kubernetes."),
    node: z.string().min(1).describe("The node it runs on."),
    containerID: z.string().optional().describe("The container whose network it is."),
    pod: z.string().optional().describe("Name of the pod."),
    endpoint: z.string().min(1).describe('Interface inside the pod, usually "eth0".'),
    serviceAccountName: z.string().optional().describe("Service account of the pod."),
    ipNetworks: z.array(host).default([]).describe("Addresses, as /32 or /128."),
    ipNATs: z
      .array(
        z.object({
          internalIP: address().describe("An address of ipNetworks."),
          externalIP: address().describe("Address outside."),
        }),
      )
      .optional()
      .describe("Addresses translated one to one."),
    ipv4Gateway: address(4).optional().describe("Default gateway inside the pod."),
    ipv6Gateway: address(6).optional().describe("IPv6 default gateway inside the pod."),
    profiles: z.array(z.string()).default([]).describe("Profiles, in order; evaluated after all tiers."),
    interfaceName: interfaceName.describe("Interface on the node."),
    mac: mac.optional().describe("MAC address inside the pod."),
    ports: z.array(endpointPort).optional().describe("Named ports."),
    qosControls: qosControls.optional().describe("Limits of its traffic."),
    allowSpoofedSourcePrefixes: z.array(net()).optional().describe("Further source addresses it may use."),
  })
  .superRefine((value, context) => {
    for (const [i, { internalIP }] of (value.ipNATs ?? []).entries())
      if (!value.ipNetworks.some((network) => network.split("/")[0] === internalIP))
        context.addIssue({
          code: "custom",
          path: ["ipNATs", i, "internalIP"],
          message: "must be one of ipNetworks",
        });
  });

export type WorkloadEndpointSpec = SpecOf<typeof spec>;

/** `<node>-k8s-<pod>-<interface>`, with every "-" inside a part doubled so that parts can be told apart. */
export const workloadEndpointName = (of: {
  node: string;
  orchestrator: string;
  pod: string;
  endpoint: string;
}): string =>
  [of.node, of.orchestrator, of.pod, of.endpoint].map((part) => part.replaceAll("-", "--")).join("-");

export const workloadEndpoint = define({
  kind: "WorkloadEndpoint",
  plural: "workloadendpoints",
  aliases: ["wep", "weps"],
  scope: "namespaced",
  description: "A pod's interface. Written by CNI ADD, removed by CNI DEL.",
  spec,
  outdated: ({ ipNATs = [] }) =>
    ipNATs.flatMap(({ internalIP, externalIP }, i) =>
      familiesOf([internalIP, externalIP]).size > 1
        ? [{ path: `spec.ipNATs.${i}.externalIP`, message: "must be of the family of internalIP" }]
        : [],
    ),
  columns: [
    { title: "WORKLOAD", value: ({ spec }) => spec.pod ?? spec.workload },
    { title: "NODE", value: ({ spec }) => spec.node },
    { title: "NETWORKS", value: ({ spec }) => spec.ipNetworks.join(",") },
    { title: "INTERFACE", value: ({ spec }) => spec.interfaceName },
    { title: "PROFILES", wide: true, value: ({ spec }) => spec.profiles.join(",") },
  ],
  example: {
    metadata: { name: "n1-k8s-web--1-eth0", namespace: "shop", labels: { app: "web" } },
    spec: {
      ...{ orchestrator: "k8s", node: "n1", pod: "web-1", endpoint: "eth0", containerID: "4f1c" },
      ...{
        ipNetworks: ["10.244.0.1/32", "fd00:10:244::1/128"],
        profiles: ["kns.shop"],
        interfaceName: "cali0123456789a",
      },
      ports: [{ name: "http", protocol: "TCP", port: 8080 }],
    },
  },
});
