import * as z from "zod";
import { define, type SpecOf } from "../resource.ts";

const spec = z
  .object({
    clusterGUID: z.string().optional().describe("Random name of the cluster."),
    clusterType: z.string().optional().describe('What the cluster runs, such as "k8s,bgp".'),
    calicoVersion: z.string().optional().describe("Version of the product; the name is Calico's."),
    datastoreReady: z
      .boolean()
      .default(true)
      .describe("False: pods are neither added nor removed, nodes change nothing."),
    variant: z.string().optional().describe("Edition."),
  })
  .prefault({});

export type ClusterInformationSpec = SpecOf<typeof spec>;

export const clusterInformation = define({
  kind: "ClusterInformation",
  plural: "clusterinformations",
  aliases: ["clusterinfo", "clusterinfos"],
  scope: "cluster",
  description: "Facts about the cluster as a whole, and the switch that holds everything.",
  spec,
  name: (name) => (name === "default" ? undefined : 'must be "default"'),
  columns: [
    { title: "CLUSTERGUID", value: ({ spec }) => spec.clusterGUID },
    { title: "CLUSTERTYPE", value: ({ spec }) => spec.clusterType },
    { title: "CALICOVERSION", value: ({ spec }) => spec.calicoVersion },
    { title: "DATASTOREREADY", value: ({ spec }) => spec.datastoreReady },
  ],
  example: { metadata: { name: "default" }, spec: { clusterType: "k8s,bgp", datastoreReady: true } },
});
