import * as z from "zod";
import { address, net } from "../fields/addresses.ts";
import { resolver } from "../fields/domains.ts";
import { duration } from "../fields/duration.ts";
import { singletonName } from "../fields/names.ts";
import { text } from "../fields/text.ts";
import { define, type SpecOf, withoutEffect } from "../resource.ts";
import { withoutDefaults } from "../settings.ts";

const SEVERITIES = ["Trace", "Debug", "Info", "Warning", "Error", "Fatal"] as const;

const interfacePrefixes = text((value) =>
  /^[a-zA-Z0-9_-]{1,14}(,[a-zA-Z0-9_-]{1,14})*$/.test(value)
    ? undefined
    : 'must be a prefix of interface names such as "cali", of 14 characters at most, or several with "," between',
);

/** Longer ones packet filters do not take. */
const outgoingInterface = text((value) =>
  /^[\w.@=~-]{1,15}$/.test(value) || /^[\w.@=~-]{1,14}\+$/.test(value)
    ? undefined
    : 'must be an interface such as "eth0", of 15 characters at most, or those that begin so: "eth+"',
);

const printable = text((value) =>
  /\p{Cc}/u.test(value) ? "must be one line without control characters" : undefined,
);

const markMask = z
  .union([z.int(), z.string()])
  .transform((value, context) => {
    const mask = Number(value);
    if (Number.isInteger(mask) && mask >= 0 && mask <= 0xffffffff && bitCount(mask) >= 8) return mask;
    context.addIssue({
      code: "custom",
      message: "must be a mask of 32 bits with at least 8 set, such as 0xffff0000",
      input: value,
    });
    return z.NEVER;
  })
  .meta({ intOrString: true });

const bitCount = (mask: number): number => mask.toString(2).replaceAll("0", "").length;

const portRange = text((value) => {
  const [, low, high] = /^(\d{1,5}):(\d{1,5})$/.exec(value) ?? [];
  return Number(low) <= Number(high) && Number(low) > 0 && Number(high) <= 65535
    ? undefined
    : 'must be a range of ports "low:high", 1 to 65535';
});

const rate = text((value) =>
  /^[1-9]\d{0,4}\/(second|minute|hour|day)$/.test(value)
    ? undefined
    : 'must be a number of packets in a time, such as "10/second" (or minute, hour, day)',
);

/** `Name=true,Other=false`, as felix has it. */
const featureOverrides = text((value) =>
  value === "" || /^\s*\w+=(true|false)\s*(,\s*\w+=(true|false)\s*)*$/.test(value)
    ? undefined
    : 'must be a list such as "ChecksumOffloadBroken=true"',
);

/** A port that host endpoints leave open whatever policy says. */
const failsafe = z.object({
  protocol: z
    .enum(["TCP", "UDP", "SCTP", "tcp", "udp", "sctp"])
    .transform((name) => name.toUpperCase() as "TCP" | "UDP" | "SCTP")
    .describe("Protocol of the port."),
  port: z.int().min(1).max(65535).describe("Port number."),
  net: net().optional().describe("Only from, or to, this network."),
});

const failsafes = (tcp: readonly number[], udp: readonly number[]) =>
  z
    .array(failsafe)
    .default([
      ...tcp.map((port) => ({ protocol: "TCP" as const, port })),
      ...udp.map((port) => ({ protocol: "UDP" as const, port })),
    ]);

/** Calico's casing differs by field; any is accepted and made the one that is documented. */
const anyCase = <T extends readonly string[]>(values: T) =>
  z.preprocess(
    (value) =>
      values.find((allowed) => typeof value === "string" && allowed.toLowerCase() === value.toLowerCase()) ??
      value,
    z.enum(values),
  );

/** Felix's parameters that are taken, so that its configuration can be, and have no effect. */
const IDLE = {
  iptablesMangleAllowAction: "what is allowed there goes on to later rules",
  netlinkTimeout: "the kernel's answers are waited for",
  maxIpsetSize: "a set holds up to 1048576 members",
  removeExternalRoutes: "routes of others to pods' interfaces are left alone",
  ipipMTU: "there is no IP-in-IP",
  logSeverityScreen: "the agent's flag --log-level decides",
  healthEnabled: "/healthz and /readyz are always served",
  prometheusMetricsEnabled: "/metrics is always served",
} as const;

/** Felix's parameters, with its names and defaults (calico.md §4.14). */
const settings = z.object({
  interfacePrefix: interfacePrefixes.default("cali").describe("What names of pods' interfaces begin with."),
  chainInsertMode: anyCase(["Insert", "Append"] as const)
    .default("Insert")
    .describe("Whether rules come before or after those of others."),
  defaultEndpointToHostAction: anyCase(["Drop", "Return", "Accept"] as const)
    .default("Drop")
    .describe("What happens to packets from pods to their node that policy allows."),
  iptablesFilterAllowAction: anyCase(["Accept", "Return"] as const)
    .default("Accept")
    .describe("Allowed packets: accepted at once, or left to later rules."),
  iptablesMangleAllowAction: anyCase(["Accept", "Return"] as const)
    .default("Accept")
    .describe(withoutEffect(IDLE.iptablesMangleAllowAction)),
  iptablesFilterDenyAction: anyCase(["Drop", "Reject"] as const)
    .default("Drop")
    .describe("How packets are refused."),
  iptablesBackend: anyCase(["Auto", "Legacy", "NFT"] as const)
    .default("Auto")
    .describe("Which iptables is used."),
  nftablesMode: anyCase(["Auto", "Enabled", "Disabled"] as const)
    .default("Auto")
    .describe(
      "Whether nftables is used instead of iptables. Auto: unless others (Docker, ufw; kube-proxy does not count) have rules in iptables' table filter that may refuse packets, iptablesBackend is named, or Linux is older than 6.1.",
    ),
  iptablesMarkMask: markMask.default(0xffff0000).describe("Bits of the packet mark that Margay may use."),
  iptablesRefreshInterval: duration.default("180s").describe("How often iptables is read back and compared."),
  ipsetsRefreshInterval: duration.default("90s").describe("How often ipsets are read back and compared."),
  routeRefreshInterval: duration.default("90s").describe("How often routes are read back and compared."),
  netlinkTimeout: duration.default("10s").describe(withoutEffect(IDLE.netlinkTimeout)),
  maxIpsetSize: z.int().min(1).default(1048576).describe(withoutEffect(IDLE.maxIpsetSize)),
  ipv6Support: z
    .boolean()
    .default(true)
    .describe(
      "Whether pods have IPv6; if not, theirs is dropped. Host endpoints are enforced in both families either way.",
    ),
  natOutgoingAddress: address(4).optional().describe("Source address of NAT; masquerade when absent."),
  natPortRange: portRange.optional().describe("Source ports of NAT."),
  natOutgoingInterfaceFilter: outgoingInterface
    .optional()
    .describe('NAT only on this outgoing interface, or on those that begin so: "eth+".'),
  natOutgoingExclusions: anyCase(["IPPoolsOnly", "IPPoolsAndHostIPs"] as const)
    .default("IPPoolsOnly")
    .describe("Destinations that are not translated."),
  featureDetectOverride: featureOverrides
    .optional()
    .describe(
      'What the node can, instead of finding out. Heeded: "ChecksumOffloadBroken=true", for VXLAN devices.',
    ),
  floatingIPs: anyCase(["Enabled", "Disabled"] as const)
    .default("Disabled")
    .describe("Whether the floating addresses that pods ask for by annotation are theirs."),
  workloadSourceSpoofing: anyCase(["Disabled", "Any"] as const)
    .default("Disabled")
    .describe("Any: pods may use the addresses they are allowed by annotation."),
  workloadRPF: anyCase(["Strict", "Loose", "Disabled"] as const)
    .default("Strict")
    .describe(
      "Which packets of pods are dropped beside those of foreign addresses. Strict: those whose source is not routed to the pod. Loose: not routed at all. Margay only.",
    ),
  disableConntrackInvalidCheck: z
    .boolean()
    .default(false)
    .describe("Do not drop packets that conntrack calls invalid."),
  cutDeniedConnections: z
    .boolean()
    .default(true)
    .describe("End established connections that policy no longer allows. Margay only."),
  dnsTrustedServers: z
    .array(resolver)
    .default(["k8s-service:kube-dns"])
    .describe(
      'DNS servers whose answers to pods tell the addresses of the domains that policies name: "k8s-service:[<namespace>/]<name>" (in kube-system if not said) or an address.',
    ),
  removeExternalRoutes: z.boolean().default(true).describe(withoutEffect(IDLE.removeExternalRoutes)),
  deviceRouteSourceAddress: address(4).optional().describe("Source address of routes to pods."),
  deviceRouteSourceAddressIPv6: address(6).optional().describe("IPv6 source address of routes to pods."),
  failsafeInboundHostPorts: failsafes([22, 179, 2379, 2380, 5473, 6443, 6666, 6667], [68]).describe(
    "Ports of the node that host endpoints leave open whatever policy says; an empty list for none.",
  ),
  failsafeOutboundHostPorts: failsafes([179, 2379, 2380, 5473, 6443, 6666, 6667], [53, 67]).describe(
    "Ports elsewhere that the node may always send to; an empty list for none.",
  ),
  ipForwarding: anyCase(["Enabled", "Disabled"] as const)
    .default("Enabled")
    .describe("Disabled: forwarding is not switched on."),
  programClusterRoutes: z
    .enum(["Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly"])
    .default("EnabledIPIPOnly")
    .describe("Which routes to other nodes' blocks the agent programs, by encapsulation of the pool."),
  ipv4NormalRoutePriority: z.int().min(1).max(2147483646).default(1024).describe("Metric of IPv4 routes."),
  ipv6NormalRoutePriority: z.int().min(1).max(2147483646).default(1024).describe("Metric of IPv6 routes."),
  allowVXLANPacketsFromWorkloads: z
    .boolean()
    .default(false)
    .describe(
      "Pods may send UDP to vxlanPort while a pool of that family uses VXLAN; never to their own node's.",
    ),
  vxlanPort: z.int().min(1).max(65535).default(4789).describe("UDP port of VXLAN."),
  vxlanVNI: z.int().min(1).max(16777215).default(4096).describe("VXLAN network identifier."),
  vxlanMTU: z.int().min(0).default(0).describe("MTU of the IPv4 VXLAN device; 0 is automatic."),
  vxlanMTUV6: z.int().min(0).default(0).describe("MTU of the IPv6 VXLAN device; 0 is automatic."),
  ipipMTU: z.int().min(0).default(0).describe(withoutEffect(IDLE.ipipMTU)),
  logPrefix: printable
    .max(127)
    .default("calico-packet")
    .describe(
      "What kernel log lines of Log rules begin with, cut to 29 bytes with iptables and 127 with nftables. %t: tier, %k: kind, %n: name, %p: namespace/name.",
    ),
  logActionRateLimit: rate
    .default("10/second")
    .describe(
      'How often each Log rule logs at most: "10/second" (or minute, hour, day). Calico has no limit by default: who sends packets would write the log.',
    ),
  logActionRateLimitBurst: z
    .int()
    .min(1)
    .max(10_000)
    .default(5)
    .describe("How many packets each Log rule logs at once before its limit holds."),
  serviceLoopPrevention: anyCase(["Drop", "Reject", "Disabled"] as const)
    .default("Drop")
    .describe(
      "Packets to a service address that BGPConfiguration announces and nobody translated: they would come back from the router.",
    ),
  logSeverityScreen: anyCase(SEVERITIES).default("Info").describe(withoutEffect(IDLE.logSeverityScreen)),
  healthEnabled: z.boolean().default(false).describe(withoutEffect(IDLE.healthEnabled)),
  prometheusMetricsEnabled: z.boolean().default(false).describe(withoutEffect(IDLE.prometheusMetricsEnabled)),
});

const spec = withoutDefaults(settings).prefault({});

export type FelixConfigurationSpec = SpecOf<typeof spec>;

/** What a node goes by: `default` and `node.<name>` merged, defaults filled in. */
export type FelixSettings = SpecOf<typeof settings>;
export const felixSettings = settings;

export const felixConfiguration = define({
  kind: "FelixConfiguration",
  plural: "felixconfigurations",
  aliases: ["felixconfig", "felixconfigs"],
  scope: "cluster",
  description: "How nodes enforce and route: `default` for all, `node.<nodename>` for one.",
  spec,
  settings,
  name: singletonName,
  idle: () => IDLE,
  columns: [{ title: "PREFIX", wide: true, value: ({ spec }) => spec.interfacePrefix }],
  example: {
    metadata: { name: "default" },
    spec: { chainInsertMode: "Insert", defaultEndpointToHostAction: "Accept", ipv6Support: true },
  },
});
