import * as z from "zod";
import { any, type Between, check, has, isEmpty, not } from "../between.ts";
import { address } from "../fields/addresses.ts";
import { interfacePattern, notOneInterface } from "../fields/names.ts";
import { define, type SpecOf } from "../resource.ts";
import { endpointPort } from "./workload-endpoint.ts";

const between: readonly Between[] = [
  {
    ...{ path: "interfaceName", message: "is required without expectedIPs" },
    must: any(has("interfaceName"), not(isEmpty("expectedIPs"))),
  },
];

const spec = z
  .object({
    node: z.string().min(1).describe("The node whose interface it is."),
    interfaceName: interfacePattern
      .optional()
      .describe(
        "Name of the interface, or \"*\" for all that are no pod's nor another host endpoint's; if absent, found by expectedIPs.",
      ),
    expectedIPs: z
      .array(address())
      .default([])
      .describe(
        "Its addresses, for selectors of rules; without interfaceName, every interface that has one of them.",
      ),
    profiles: z.array(z.string()).default([]).describe("Profiles, in order; evaluated after all tiers."),
    ports: z.array(endpointPort).optional().describe("Named ports."),
  })
  .superRefine(check(between));

export type HostEndpointSpec = SpecOf<typeof spec>;

export const hostEndpoint = define({
  kind: "HostEndpoint",
  plural: "hostendpoints",
  aliases: ["hep", "heps"],
  scope: "cluster",
  description: "An interface of a node itself, for policies over what the node sends, receives and forwards.",
  spec,
  between,
  outdated: ({ interfaceName = "*" }) => {
    const message = interfaceName === "*" ? undefined : notOneInterface(interfaceName);
    return message === undefined ? [] : [{ path: "spec.interfaceName", message }];
  },
  columns: [
    { title: "NODE", value: ({ spec }) => spec.node },
    { title: "INTERFACE", value: ({ spec }) => spec.interfaceName ?? "" },
    { title: "IPS", value: ({ spec }) => spec.expectedIPs.join(",") },
    { title: "PROFILES", wide: true, value: ({ spec }) => spec.profiles.join(",") },
  ],
  example: {
    metadata: { name: "n1-auto-hep", labels: { "kubernetes.io/hostname": "n1" } },
    spec: {
      ...{ node: "n1", interfaceName: "*", expectedIPs: ["172.20.0.11"] },
      profiles: ["projectcalico-default-allow"],
    },
  },
});
