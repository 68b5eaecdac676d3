import * as z from "zod";
import { address, interfaceAddress } from "../fields/addresses.ts";
import { asNumber } from "../fields/as-number.ts";
import { define, type SpecOf } from "../resource.ts";

const bgp = z
  .object({
    asNumber: asNumber.optional().describe("The node's AS; that of BGPConfiguration `default` when absent."),
    ipv4Address: interfaceAddress(4)
      .optional()
      .describe("The node's IPv4 address and subnet, such as 10.0.0.5/24."),
    ipv6Address: interfaceAddress(6).optional().describe("The node's IPv6 address and subnet."),
    ipv4IPIPTunnelAddr: address(4).optional().describe("Address of the node's IP-in-IP tunnel."),
    routeReflectorClusterID: address(4)
      .optional()
      .describe("Makes the node a route reflector of this cluster (dotted, RFC 4456)."),
  })
  .superRefine((value, context) => {
    if (value.ipv4Address === undefined && value.ipv6Address === undefined)
      context.addIssue({ code: "custom", message: "must have ipv4Address or ipv6Address" });
  });

const spec = z
  .object({
    bgp: bgp.optional().describe("How the node speaks BGP; a node without it speaks none."),
    ipv4VXLANTunnelAddr: address(4).optional().describe("Address of the node's IPv4 VXLAN device."),
    ipv6VXLANTunnelAddr: address(6).optional().describe("Address of the node's IPv6 VXLAN device."),
    vxlanTunnelMACAddr: z.string().optional().describe("MAC of the IPv4 VXLAN device."),
    vxlanTunnelMACAddrV6: z.string().optional().describe("MAC of the IPv6 VXLAN device."),
    orchRefs: z
      .array(
        z.object({
          orchestrator: z.string().describe('"k8s".'),
          nodeName: z.string().optional().describe("Its name there."),
        }),
      )
      .optional()
      .describe("What the node is called by an orchestrator."),
    wireguard: z
      .object({
        interfaceIPv4Address: address(4).optional().describe("Address of the IPv4 WireGuard device."),
        interfaceIPv6Address: address(6).optional().describe("Address of the IPv6 WireGuard device."),
      })
      .optional()
      .describe("WireGuard devices."),
    addresses: z
      .array(
        z.object({
          address: z.string().describe("The address, bare or with its subnet."),
          type: z
            .enum(["CalicoNodeIP", "InternalIP", "ExternalIP"])
            .optional()
            .describe("Where it was learned."),
        }),
      )
      .optional()
      .describe("All addresses of the node."),
  })
  .prefault({});

export type NodeSpec = SpecOf<typeof spec>;

export const node = define({
  kind: "Node",
  plural: "nodes",
  aliases: ["no"],
  scope: "cluster",
  description: "A host that runs pods, or a route reflector.",
  spec,
  columns: [
    { title: "ASN", wide: true, value: ({ spec }) => spec.bgp?.asNumber },
    { title: "IPV4", wide: true, value: ({ spec }) => spec.bgp?.ipv4Address },
    { title: "IPV6", wide: true, value: ({ spec }) => spec.bgp?.ipv6Address },
  ],
  example: {
    metadata: { name: "n1", labels: { rack: "r1" } },
    spec: { bgp: { asNumber: 64512, ipv4Address: "172.20.0.11/24", ipv6Address: "fd00:172:20::11/64" } },
  },
});
