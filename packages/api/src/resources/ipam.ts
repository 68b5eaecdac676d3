import * as z from "zod";
import { cidr } from "../fields/addresses.ts";
import { define, type SpecOf } from "../resource.ts";

const attributes = z.object({
  pod: z.string().optional().describe("Pod that has the address."),
  namespace: z.string().optional().describe("Its namespace."),
  podUID: z
    .string()
    .optional()
    .describe("Its UID in Kubernetes: by it the controllers prove that it is gone."),
  node: z.string().optional().describe("The node it runs on."),
  containerID: z.string().optional().describe("Its container."),
  timestamp: z.string().optional().describe("When the address was assigned."),
  type: z.string().optional().describe("What it is for, if not a pod: vxlanTunnelAddress, ..."),
  service: z
    .string()
    .optional()
    .describe("Load balancer that has the address, namespace/name; those that share it with commas."),
  plugin: z
    .string()
    .optional()
    .describe(
      "The CNI plugin that asked for it and has the interface, if not Margay's: its pods have no endpoint.",
    ),
  netns: z.string().optional().describe("Path of its network namespace."),
  netnsInode: z
    .string()
    .optional()
    .describe("What the path named then: a new namespace under an old path is another."),
});

/** Why an address was freed: what `margay ipam why` tells afterwards. */
const REASONS = [
  "cni-del",
  "add-failed",
  "container-gone",
  "namespace-gone",
  "interface-gone",
  "node-deleted",
  "service-gone",
  "operator",
  "requested",
] as const;

const released = z.object({
  ordinal: z.int().min(0).describe("Which address."),
  handle: z.string().min(1).describe("Who held it."),
  reason: z.enum(REASONS).describe("Why it was freed."),
  at: z.string().describe("When it was freed."),
  pod: z.string().optional().describe("The pod that held it."),
  namespace: z.string().optional().describe("The pod's namespace."),
  node: z.string().optional().describe("The pod's node."),
  service: z.string().optional().describe("The load balancer that held it."),
});

const ipamBlock = z.object({
  cidr: cidr().describe("The block."),
  affinity: z
    .string()
    .regex(/^(host:.+|virtual:load-balancer)$/, {
      error: 'must be "host:<node>" or "virtual:load-balancer"',
    })
    .optional()
    .describe('"host:<node>" that owns it, or "virtual:load-balancer".'),
  affinityClaimTime: z.string().describe("When it was claimed."),
  sequenceNumber: z.int().describe("Grows with every change."),
  allocations: z
    .record(
      z.string().regex(/^\d+$/, { error: "must be an ordinal: the address minus the first of the block" }),
      z.object({
        handle: z.string().min(1).describe("Who holds the address."),
        sequence: z.int().describe("sequenceNumber at the time it was assigned."),
        attributes: attributes.describe("For people."),
      }),
    )
    .describe("Assigned addresses by ordinal."),
  unallocated: z
    .array(z.int().min(0))
    .describe("Freed ordinals, the longest free first; those never used are not listed."),
  released: z
    .array(released)
    .optional()
    .describe("The last addresses freed, the latest last: the last 16, and all that still cool down."),
  deleted: z.boolean().optional().describe("About to be removed."),
});

const blockAffinity = z.object({
  state: z
    .enum(["pending", "confirmed", "pendingDeletion"])
    .describe("Only confirmed affinities are routed and announced."),
  node: z.string().min(1).describe("Who claims the block."),
  type: z.enum(["host"]).default("host").describe("What `node` is."),
  cidr: cidr().describe("The block."),
});

const ipamConfiguration = z
  .object({
    strictAffinity: z
      .boolean()
      .default(false)
      .describe("A node gives out addresses of its own blocks only, never borrows."),
    maxBlocksPerHost: z.int().min(0).default(0).describe("Blocks a node may own; 0 means no limit."),
    autoAllocateBlocks: z.boolean().default(true).describe("Nodes claim blocks by themselves."),
    ipCooldownSeconds: z
      .int()
      .min(0)
      .max(1200)
      .default(0)
      .describe("How long a released address is not given again."),
    hostReserved: z
      .object({
        first: z.int().min(0).max(16).default(0).describe("How many from the beginning of each block."),
        last: z.int().min(0).max(16).default(0).describe("How many from its end."),
      })
      .prefault({})
      .describe("Addresses of each block that are the host's, never a pod's unless asked for by name."),
    rackLabel: z
      .string()
      .default("topology.kubernetes.io/rack")
      .describe(
        "Node label: nodes with the same value take neighbouring blocks, which routers can aggregate.",
      ),
    kubeVirtVMAddressPersistence: z
      .enum(["Enabled", "Disabled"])
      .default("Enabled")
      .describe("A KubeVirt machine keeps its address."),
  })
  .superRefine((value, context) => {
    const refuse = (path: string, message: string) =>
      context.addIssue({ code: "custom", path: [path], message });
    if (!value.strictAffinity && !value.autoAllocateBlocks)
      refuse("autoAllocateBlocks", "must be true unless strictAffinity is");
    if (value.maxBlocksPerHost > 0 && !value.strictAffinity)
      refuse("maxBlocksPerHost", "must be 0 unless strictAffinity is true");
  })
  .prefault({});

export type IPAMBlockSpec = SpecOf<typeof ipamBlock>;
export type BlockAffinitySpec = SpecOf<typeof blockAffinity>;
/** Why an address was freed. */
export type ReleaseReason = (typeof REASONS)[number];
export type IPAMConfigurationSpec = SpecOf<typeof ipamConfiguration>;

/** A name made of a CIDR: "/" becomes "-", ":" stays. */
const cidrName = (cidr: string): string => cidr.replace("/", "-");

export const ipamBlockDefinition = define({
  kind: "IPAMBlock",
  plural: "ipamblocks",
  aliases: ["block", "blocks"],
  scope: "cluster",
  description: "A block of addresses and who has each: the whole truth about them in one key.",
  spec: ipamBlock,
  name: () => undefined,
  check: ({ name, spec }) =>
    name === cidrName(spec.cidr)
      ? []
      : [{ path: "metadata.name", message: `must be ${cidrName(spec.cidr)}, after spec.cidr` }],
  columns: [
    { title: "CIDR", value: ({ spec }) => spec.cidr },
    { title: "AFFINITY", value: ({ spec }) => spec.affinity },
    { title: "IN USE", value: ({ spec }) => Object.keys(spec.allocations).length },
  ],
  example: {
    metadata: { name: "10.244.3.64-30" },
    spec: {
      ...{
        cidr: "10.244.3.64/30",
        affinity: "host:n1",
        affinityClaimTime: "2026-01-01T00:00:00.000Z",
        sequenceNumber: 2,
      },
      allocations: {
        "0": { handle: "k8s-pod-network.4f1c", sequence: 1, attributes: { pod: "web-1", namespace: "shop" } },
      },
      unallocated: [1],
    },
  },
});

export const blockAffinityDefinition = define({
  kind: "BlockAffinity",
  plural: "blockaffinities",
  aliases: ["affinity", "affinities"],
  scope: "cluster",
  description: "A node's claim to a block: pending, then confirmed once the block says so too.",
  spec: blockAffinity,
  name: () => undefined,
  check: ({ name, spec }) =>
    name === `${spec.node}-${cidrName(spec.cidr)}`
      ? []
      : [
          {
            path: "metadata.name",
            message: `must be ${spec.node}-${cidrName(spec.cidr)}, after spec.node and spec.cidr`,
          },
        ],
  columns: [
    { title: "NODE", value: ({ spec }) => spec.node },
    { title: "CIDR", value: ({ spec }) => spec.cidr },
    { title: "STATE", value: ({ spec }) => spec.state },
  ],
  example: {
    metadata: { name: "n1-10.244.3.64-26" },
    spec: { state: "confirmed", node: "n1", type: "host", cidr: "10.244.3.64/26" },
  },
});

export const ipamConfigurationDefinition = define({
  kind: "IPAMConfiguration",
  plural: "ipamconfigurations",
  aliases: ["ipamconfig", "ipamconfigs"],
  scope: "cluster",
  description: "How addresses are given out.",
  spec: ipamConfiguration,
  name: (name) => (name === "default" ? undefined : 'must be "default"'),
  columns: [
    { title: "STRICTAFFINITY", value: ({ spec }) => spec.strictAffinity },
    { title: "AUTOALLOCATEBLOCKS", value: ({ spec }) => spec.autoAllocateBlocks },
    { title: "MAXBLOCKSPERHOST", wide: true, value: ({ spec }) => spec.maxBlocksPerHost },
  ],
  example: { metadata: { name: "default" }, spec: { strictAffinity: true, maxBlocksPerHost: 4 } },
});
