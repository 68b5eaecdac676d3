import * as z from "zod";
import { type Between, both, check, has, is, not } from "../between.ts";
import { address, cidr } from "../fields/addresses.ts";
import { asNumber } from "../fields/as-number.ts";
import { duration } from "../fields/duration.ts";
import { interfacePattern, singletonName } from "../fields/names.ts";
import { secretKeyRef } from "../fields/secret.ts";
import { define, type SpecOf, withoutEffect } from "../resource.ts";
import { withoutDefaults } from "../settings.ts";
import { community } from "./bgp-policy.ts";

const communityName = /^[a-zA-Z_][-a-zA-Z0-9_]{0,252}$/;
const ranges = z.array(z.object({ cidr: cidr().describe("Range.") })).optional();

/** Calico's parameters that are taken, so that its configuration can be, and have no effect. */
const IDLE = {
  logSeverityScreen: "bgpd's flag --log-level decides",
  ignoredInterfaces: "networks of interfaces are not announced",
} as const;

const settings = z.object({
  logSeverityScreen: z
    .enum(["Trace", "Debug", "Info", "Warning", "Error", "Fatal"])
    .default("Info")
    .describe(withoutEffect(IDLE.logSeverityScreen)),
  nodeToNodeMeshEnabled: z.boolean().default(true).describe("Every node peers with every other."),
  asNumber: asNumber.default(64512).describe("AS of nodes that name none."),
  listenPort: z
    .int()
    .min(1)
    .max(65535)
    .default(179)
    .describe("TCP port that nodes listen on and dial in the mesh."),
  bindMode: z.enum(["None", "NodeIP"]).default("None").describe("NodeIP: listen on the node's address only."),
  serviceClusterIPs: ranges.describe("Ranges of cluster addresses to announce."),
  serviceExternalIPs: ranges.describe("Ranges of external addresses to announce."),
  serviceLoadBalancerIPs: ranges.describe("Ranges of load balancer addresses to announce."),
  serviceLoadBalancerAggregation: z
    .enum(["Enabled", "Disabled"])
    .default("Enabled")
    .describe("Enabled announces the range, Disabled each service."),
  communities: z
    .array(
      z.object({
        name: z
          .string()
          .regex(communityName, { error: "must be a name of letters, digits, '-' and '_'" })
          .describe("Name, for prefixAdvertisements."),
        value: community.describe("aa:nn or aa:nn:mm."),
      }),
    )
    .max(500)
    .optional()
    .describe("Named communities."),
  prefixAdvertisements: z
    .array(
      z.object({
        cidr: cidr().describe("Announcements inside this range."),
        communities: z.array(z.string()).max(50).describe("Communities to add: names or values."),
      }),
    )
    .optional()
    .describe("Communities added to what is announced."),
  nodeMeshPassword: secretKeyRef.optional().describe("TCP-MD5 password (RFC 2385) of the mesh."),
  nodeMeshMaxRestartTime: duration
    .optional()
    .describe("Graceful restart time (RFC 4724) of the mesh; 120s when absent."),
  ignoredInterfaces: z.array(interfacePattern).optional().describe(withoutEffect(IDLE.ignoredInterfaces)),
  localWorkloadPeeringIPV4: address(4)
    .optional()
    .describe("Address of every node that pods peer with (localWorkloadSelector)."),
  localWorkloadPeeringIPV6: address(6).optional().describe("The same over IPv6; not a link-local address."),
  programClusterRoutes: z
    .enum(["Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly"])
    .default("EnabledNoEncapOnly")
    .describe("Which routes to other nodes' blocks bgpd programs, by encapsulation of the pool."),
  ipv4NormalRoutePriority: z.int().min(1).max(2147483646).default(1024).describe("Metric of IPv4 routes."),
  ipv6NormalRoutePriority: z.int().min(1).max(2147483646).default(1024).describe("Metric of IPv6 routes."),
});

const between: readonly Between[] = ["nodeMeshPassword", "nodeMeshMaxRestartTime"].map((field) => ({
  ...{ path: field, message: "needs nodeToNodeMeshEnabled" },
  must: not(both(has(field), is("nodeToNodeMeshEnabled", false))),
}));

const spec = withoutDefaults(settings)
  .superRefine((value, context) => {
    const names = new Set(value.communities?.map(({ name }) => name));
    for (const [i, advertisement] of (value.prefixAdvertisements ?? []).entries())
      for (const [j, wanted] of advertisement.communities.entries())
        if (!names.has(wanted) && !community.safeParse(wanted).success)
          context.addIssue({
            code: "custom",
            path: ["prefixAdvertisements", i, "communities", j],
            message: `must be a value such as 64512:100, or a name from spec.communities (${[...names].join(", ") || "there is none"}), found ${JSON.stringify(wanted)}`,
          });
  })
  .superRefine(check(between))
  .prefault({});

export type BGPConfigurationSpec = SpecOf<typeof spec>;

/** What a node goes by: `default` and `node.<name>` merged, defaults filled in. */
export type BGPSettings = SpecOf<typeof settings>;
export const bgpSettings = settings;

/** Fields that mean the cluster as a whole (calico.md §1.3). */
const CLUSTER_WIDE = [
  "nodeToNodeMeshEnabled",
  "asNumber",
  "serviceClusterIPs",
  "serviceExternalIPs",
  "serviceLoadBalancerIPs",
  "nodeMeshPassword",
  "nodeMeshMaxRestartTime",
] as const;

export const bgpConfiguration = define({
  kind: "BGPConfiguration",
  plural: "bgpconfigurations",
  aliases: ["bgpconfig", "bgpconfigs"],
  scope: "cluster",
  description: "How nodes speak BGP: `default` for all, `node.<nodename>` for one.",
  spec,
  settings,
  between,
  name: singletonName,
  idle: () => IDLE,
  check: ({ name, spec }) =>
    name === "default"
      ? []
      : CLUSTER_WIDE.filter((field) => spec[field] !== undefined).map((field) => ({
          path: `spec.${field}`,
          message: "is allowed in the object named default only",
        })),
  columns: [
    { title: "MESHENABLED", value: ({ spec }) => spec.nodeToNodeMeshEnabled },
    { title: "ASNUMBER", value: ({ spec }) => spec.asNumber },
  ],
  example: { metadata: { name: "default" }, spec: { asNumber: 64512, nodeToNodeMeshEnabled: true } },
});
