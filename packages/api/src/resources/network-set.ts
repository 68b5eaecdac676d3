import * as z from "zod";
import { net } from "../fields/addresses.ts";
import { define, type SpecOf } from "../resource.ts";

const spec = z
  .object({
    nets: z
      .array(net())
      .default([])
      .describe("Networks and addresses of both families; selectors match the set's labels."),
  })
  .prefault({});

export type NetworkSetSpec = SpecOf<typeof spec>;
export type GlobalNetworkSetSpec = NetworkSetSpec;

export const networkSet = define({
  kind: "NetworkSet",
  plural: "networksets",
  aliases: ["netset", "netsets"],
  scope: "namespaced",
  description: "Networks outside the cluster that rules select by label, for policies of one namespace.",
  spec,
  columns: [{ title: "NETS", value: ({ spec }) => spec.nets.length }],
  example: {
    metadata: { name: "payment-gateways", namespace: "shop", labels: { role: "payment" } },
    spec: { nets: ["198.51.100.0/24", "2001:db8:5::/48"] },
  },
});

export const globalNetworkSet = define({
  kind: "GlobalNetworkSet",
  plural: "globalnetworksets",
  aliases: ["gnetset", "gnetsets", "gns"],
  scope: "cluster",
  description: "Networks outside the cluster that rules select by label, for all policies.",
  spec,
  columns: [{ title: "NETS", value: ({ spec }) => spec.nets.length }],
  example: {
    metadata: { name: "blocklist", labels: { role: "blocked" } },
    spec: { nets: ["203.0.113.0/24", "192.0.2.7"] },
  },
});
