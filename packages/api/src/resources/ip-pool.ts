import { contains, parsePrefix } from "@margay/net";
import * as z from "zod";
import { any, type Between, check, is } from "../between.ts";
import { cidr, prefixIn } from "../fields/addresses.ts";
import { namespaceSelector, selector } from "../fields/selectors.ts";
import { define, type SpecOf } from "../resource.ts";

const ENCAPSULATION = ["Never", "Always", "CrossSubnet"] as const;

/** Block sizes (prefix lengths) per family: calico.md §1.2. */
const BLOCK_SIZE = { 4: { low: 20, high: 32, usual: 26 }, 6: { low: 116, high: 128, usual: 122 } } as const;

const LINK_LOCAL = ["169.254.0.0/16", "fe80::/10"].map((text) => parsePrefix(text));

const SPEC = z.object({
  cidr: cidr().describe("The range of addresses. May not change, nor overlap another pool."),
  blockSize: z
    .int()
    .optional()
    .describe(
      "Prefix length of the blocks given to nodes: 20 to 32 for IPv4 (26 when absent), 116 to 128 for IPv6 (122). May not change.",
    ),
  ipipMode: z
    .enum(ENCAPSULATION)
    .default("Never")
    .describe("IP-in-IP encapsulation between nodes; IPv4 only."),
  vxlanMode: z.enum(ENCAPSULATION).default("Never").describe("VXLAN encapsulation between nodes."),
  natOutgoing: z
    .boolean()
    .default(false)
    .describe("Masquerade packets from the pool to addresses outside all pools."),
  disabled: z
    .boolean()
    .default(false)
    .describe("Give out no new addresses; those in use stay routed and announced."),
  disableBGPExport: z.boolean().default(false).describe("Do not announce blocks of the pool by BGP."),
  nodeSelector: selector.default("all()").describe("Nodes that may claim blocks, by label."),
  namespaceSelector: namespaceSelector
    .optional()
    .describe("Namespaces whose pods may use the pool, by label; all when absent."),
  allowedUses: z
    .array(z.enum(["Workload", "Tunnel", "LoadBalancer"]))
    .min(1)
    .default(["Workload", "Tunnel"])
    .describe("What addresses are used for; LoadBalancer excludes the others."),
  assignmentMode: z
    .enum(["Automatic", "Manual"])
    .default("Automatic")
    .describe("Manual: only for pods that ask for the pool by name."),
});

const between: readonly Between[] = [
  {
    ...{ path: "vxlanMode", message: "must be Never beside another ipipMode: a pool has one encapsulation" },
    must: any(is("vxlanMode", "Never"), is("ipipMode", "Never")),
  },
];

const spec = SPEC.superRefine(check(between)).superRefine((value, context) => {
  for (const [path, message] of faults(value)) context.addIssue({ code: "custom", path: [path], message });
});

export type IPPoolSpec = SpecOf<typeof spec>;

function faults(value: z.output<typeof SPEC>): [string, string][] {
  return [...rangeFaults(value), ...encapsulationFaults(value), ...useFaults(value)];
}

/** A range that is wrong by itself hides nothing: what else is wrong is told in the same go. */
function rangeFaults({ cidr: text, disabled, ...value }: z.output<typeof SPEC>): [string, string][] {
  const range = cidr().safeParse(text).success ? prefixIn(text) : undefined;
  const family = range?.family ?? (text.includes(":") ? 6 : 4);
  const { low, high, usual } = BLOCK_SIZE[family];
  const blockSize = value.blockSize ?? usual;
  const out: [string, string][] = [];
  if (blockSize < low || blockSize > high)
    out.push(["blockSize", `must be ${low} to ${high} for IPv${family}, found ${blockSize}`]);
  else if (range && range.length > blockSize && !disabled)
    out.push(["cidr", `must hold at least one block of /${blockSize}, found ${text}`]);
  if (range && LINK_LOCAL.some((local) => contains(local, range) || contains(range, local)))
    out.push(["cidr", "must not overlap the link-local ranges 169.254.0.0/16 and fe80::/10"]);
  return out;
}

function encapsulationFaults({ cidr, ipipMode }: z.output<typeof SPEC>): [string, string][] {
  return ipipMode !== "Never" && prefixIn(cidr)?.family === 6
    ? [["ipipMode", "must be Never for IPv6; use vxlanMode"]]
    : [];
}

function useFaults(value: z.output<typeof SPEC>): [string, string][] {
  const out: [string, string][] = [];
  if (value.namespaceSelector !== undefined && !value.allowedUses.includes("Workload"))
    out.push(["namespaceSelector", "needs Workload among allowedUses"]);
  if (!value.allowedUses.includes("LoadBalancer")) return out;
  if (value.allowedUses.length > 1) out.push(["allowedUses", "must be LoadBalancer alone, or without it"]);
  if (value.ipipMode !== "Never") out.push(["ipipMode", "must be Never for LoadBalancer"]);
  if (value.vxlanMode !== "Never") out.push(["vxlanMode", "must be Never for LoadBalancer"]);
  if (value.nodeSelector !== "all()") out.push(["nodeSelector", "must be all() for LoadBalancer"]);
  if (value.disableBGPExport) out.push(["disableBGPExport", "must be false for LoadBalancer"]);
  return out;
}

export const ipPool = define({
  kind: "IPPool",
  plural: "ippools",
  aliases: ["ipp", "ipps", "pool", "pools"],
  scope: "cluster",
  description: "A range of addresses for pods, given to nodes block by block.",
  spec,
  between,
  complete: (value) => ({
    ...value,
    blockSize: value.blockSize ?? BLOCK_SIZE[value.cidr.includes(":") ? 6 : 4].usual,
  }),
  columns: [
    { title: "CIDR", value: ({ spec }) => spec.cidr },
    { title: "SELECTOR", value: ({ spec }) => spec.nodeSelector },
    { title: "NAT", wide: true, value: ({ spec }) => spec.natOutgoing },
    { title: "BLOCKSIZE", wide: true, value: ({ spec }) => spec.blockSize },
    { title: "IPIPMODE", wide: true, value: ({ spec }) => spec.ipipMode },
    { title: "VXLANMODE", wide: true, value: ({ spec }) => spec.vxlanMode },
    { title: "DISABLED", wide: true, value: ({ spec }) => spec.disabled },
    { title: "DISABLEBGPEXPORT", wide: true, value: ({ spec }) => spec.disableBGPExport },
    { title: "ASSIGNMENTMODE", wide: true, value: ({ spec }) => spec.assignmentMode },
  ],
  example: {
    metadata: { name: "default-ipv4" },
    spec: { cidr: "10.244.0.0/16", blockSize: 26, natOutgoing: true },
  },
});
