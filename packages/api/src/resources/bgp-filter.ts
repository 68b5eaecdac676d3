import * as z from "zod";
import { cidr } from "../fields/addresses.ts";
import { asNumber } from "../fields/as-number.ts";
import { interfacePattern } from "../fields/names.ts";
import { define, type SpecOf } from "../resource.ts";
import { community } from "./bgp-policy.ts";

const operation = z
  .object({
    addCommunity: z
      .object({ value: community.describe("aa:nn or aa:nn:mm.") })
      .optional()
      .describe("Add a community."),
    prependASPath: z
      .object({ prefix: z.array(asNumber).min(1).max(10).describe("AS numbers, first one outermost.") })
      .optional()
      .describe("Prepend to the AS_PATH."),
    setPriority: z
      .object({ value: z.int().min(1).max(2147483646).describe("Metric.") })
      .optional()
      .describe("Set the metric."),
  })
  .superRefine((value, context) => {
    if (Object.values(value).filter((v) => v !== undefined).length !== 1)
      context.addIssue({
        code: "custom",
        message: "must be exactly one of addCommunity, prependASPath, setPriority",
      });
  });

const filterRule = (family: 4 | 6) =>
  z
    .object({
      action: z.enum(["Accept", "Reject"]).describe("What happens to a route that matches."),
      cidr: cidr(family).optional().describe("Network to compare with; needs matchOperator."),
      matchOperator: z
        .enum(["Equal", "In", "NotEqual", "NotIn"])
        .optional()
        .describe("Equal: the same network; In: inside it."),
      prefixLength: z
        .object({
          min: z
            .int()
            .min(0)
            .max(family === 4 ? 32 : 128)
            .optional()
            .describe("At least."),
          max: z
            .int()
            .min(0)
            .max(family === 4 ? 32 : 128)
            .optional()
            .describe("At most."),
        })
        .optional()
        .describe("Length of the prefix; needs cidr."),
      source: z.enum(["RemotePeers"]).optional().describe("Only routes learned by BGP."),
      interface: interfacePattern.optional().describe("Glob of the interface of the next hop."),
      peerType: z.enum(["eBGP", "iBGP"]).optional().describe("Only with peers of this type."),
      communities: z
        .object({ values: z.array(community).length(1).describe("The community.") })
        .optional()
        .describe("Only routes that bear it."),
      asPathPrefix: z.array(asNumber).min(1).optional().describe("How the AS_PATH begins."),
      priority: z.int().min(1).max(2147483646).optional().describe("Only routes of this metric."),
      operations: z.array(operation).min(1).max(10).optional().describe("Changes to an accepted route."),
    })
    .superRefine((value, context) => {
      const refuse = (path: string, message: string) =>
        context.addIssue({ code: "custom", path: [path], message });
      if (value.cidr !== undefined && value.matchOperator === undefined)
        refuse("matchOperator", "is required with cidr");
      if (value.cidr === undefined && value.matchOperator !== undefined)
        refuse("cidr", "is required with matchOperator");
      if (value.prefixLength && value.cidr === undefined) refuse("cidr", "is required with prefixLength");
      if (value.operations && value.action === "Reject")
        refuse("operations", "must be absent when action is Reject");
    });

const spec = z
  .object({
    exportV4: z
      .array(filterRule(4))
      .optional()
      .describe("Rules for IPv4 routes sent; the first that matches decides."),
    importV4: z.array(filterRule(4)).optional().describe("Rules for IPv4 routes received."),
    exportV6: z.array(filterRule(6)).optional().describe("Rules for IPv6 routes sent."),
    importV6: z.array(filterRule(6)).optional().describe("Rules for IPv6 routes received."),
  })
  .prefault({});

export type BGPFilterSpec = SpecOf<typeof spec>;
export type BGPFilterRule = NonNullable<BGPFilterSpec["exportV4"]>[number];

export const bgpFilter = define({
  kind: "BGPFilter",
  plural: "bgpfilters",
  aliases: ["bgpf", "bf"],
  scope: "cluster",
  description:
    "Which routes a BGPPeer that names it may send and receive. No match: the next filter, then the default.",
  spec,
  columns: [
    { title: "NUMEXPORTV4", value: ({ spec }) => spec.exportV4?.length ?? 0 },
    { title: "NUMIMPORTV4", value: ({ spec }) => spec.importV4?.length ?? 0 },
    { title: "NUMEXPORTV6", value: ({ spec }) => spec.exportV6?.length ?? 0 },
    { title: "NUMIMPORTV6", value: ({ spec }) => spec.importV6?.length ?? 0 },
  ],
  example: {
    metadata: { name: "no-default-route" },
    spec: { importV4: [{ cidr: "0.0.0.0/0", matchOperator: "Equal", action: "Reject" }] },
  },
});
