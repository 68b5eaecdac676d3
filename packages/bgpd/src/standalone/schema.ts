/** The file of `margay bgpd --config-file`: every field once, with its default and what it means. */
import { definitions } from "@margay/api";
import { roles } from "@margay/bgp";
import { NetError, parseAddress, parsePrefix } from "@margay/net";
import * as z from "zod";

/** An object that names, beside a field that it does not have, those that it has. */
const object = <T extends z.ZodRawShape>(shape: T) =>
  z.strictObject(shape, {
    error: (issue) =>
      issue.code === "unrecognized_keys"
        ? `has no ${issue.keys.join(", ")}; there are ${Object.keys(shape).join(", ")}`
        : undefined,
  });

/** Text that `parse` understands. */
const parsed = <T>(parse: (text: string) => T, allowed: string) =>
  z.string().transform((text, context) => {
    try {
      return parse(text);
    } catch (error) {
      if (!(error instanceof NetError)) throw error;
      context.addIssue({ code: "custom", message: `must be ${allowed}` });
      return z.NEVER;
    }
  });

const address = parsed(parseAddress, "an IPv4 or IPv6 address");
const prefix = parsed(parsePrefix, "a network such as 10.0.0.0/8 or 2001:db8::/32");
const interfaceAddress = parsed((text) => {
  const [host = ""] = text.split("/");
  return { address: parseAddress(host), subnet: parsePrefix(text, { mask: true }) };
}, "an address with its subnet's length, such as 192.0.2.1/24");
const identifier = parsed(parseAddress, "a dotted quad such as 192.0.2.1")
  .refine((a) => a.family === 4 && a.bits !== 0n, "must be a dotted quad other than 0.0.0.0")
  .transform((a) => Number(a.bits));
const as = z.int().min(1).max(4294967295);
const port = z.int().min(1).max(65535);
const holdTime = z
  .int()
  .max(65535)
  .refine((s) => s === 0 || s >= 3, "must be 0 (no keepalives) or at least 3 seconds (RFC 4271 §4.2)");
const families = z.array(z.enum(["ipv4", "ipv6"])).min(1);

const policy = z.union(
  [
    z.enum(["accept", "reject"]),
    object({
      filters: z
        .array(z.string())
        .min(1)
        .describe("Names from `filters`, in order; the first rule that matches decides."),
      otherwise: z.enum(["accept", "reject"]).default("reject").describe("When no rule matches."),
    }),
  ],
  {
    error:
      "must be accept, reject, or filters with what happens otherwise, as in {filters: [mine], otherwise: reject}",
  },
);

const prefixLimit = object({
  max: z.int().min(1).max(4294967295).describe("More end the session (RFC 4486)."),
  "warn-percent": z.int().min(1).max(100).default(75).describe("Said in the log from here on."),
  "restart-after": z.int().min(1).optional().describe("Seconds; not by itself when absent."),
  "warn-only": z.boolean().default(false).describe("The session stays."),
});

const neighbor = object({
  name: z.string().optional().describe("For people; the address when absent."),
  address: address.describe("Of the peer."),
  as: as.describe("Of the peer; ours makes it an internal one."),
  port: port.default(179).describe("That we connect to."),
  passive: z.boolean().default(false).describe("Never connect, only listen."),
  password: z
    .string()
    .min(1)
    .refine((text) => new TextEncoder().encode(text).length <= 80, "must be at most 80 bytes long (Linux)")
    .optional()
    .describe("TCP-MD5 (RFC 2385). A changed one is taken up without a reset."),
  "ttl-security": z
    .int()
    .min(1)
    .max(254)
    .optional()
    .describe("GTSM (RFC 5082): the peer is at most so many hops away."),
  interface: z.string().min(1).max(15).optional().describe("Connect over this interface only."),
  "rr-client": z.boolean().default(false).describe("Reflect routes to it and from it (RFC 4456)."),
  "local-as": as.optional().describe("Ours towards this peer."),
  "source-address": address
    .optional()
    .describe("Ours of this session; the one in the peer's subnet when absent."),
  families: families.optional().describe("Instead of those of the file."),
  "hold-time": holdTime.optional().describe("Instead of that of the file, seconds."),
  "next-hop": z.enum(["auto", "self", "keep"]).default("auto").describe("Of what we announce."),
  "restart-time": z
    .int()
    .min(0)
    .max(4095)
    .default(120)
    .describe("How long it keeps our routes (RFC 4724), seconds."),
  "allowed-local-as": z
    .int()
    .min(0)
    .max(10)
    .default(0)
    .describe("How often our AS may stand in a path from it."),
  role: z.enum(roles).optional().describe("Ours towards it: keeps route leaks out (RFC 9234)."),
  "role-required": z.boolean().default(false).describe("It must announce its own."),
  "extended-next-hop": z.boolean().default(false).describe("IPv4 routes by way of IPv6 (RFC 8950)."),
  "max-prefixes": object({ ipv4: prefixLimit.optional(), ipv6: prefixLimit.optional() }).optional(),
  "remove-private-as": z.enum(["remove", "replace"]).optional().describe("In what we announce (RFC 6996)."),
  "enforce-first-as": z.boolean().default(false).describe("Paths begin with its AS (RFC 4271 §6.3)."),
  import: policy
    .optional()
    .describe("What is accepted. Absent: all from internal peers, see ebgp-policy for others."),
  export: policy.optional().describe("What is announced. Absent: as with import."),
});

export const fileSchema = object({
  local: object({
    as: as.describe("Our AS number."),
    "router-id": identifier.describe("Our BGP Identifier."),
    "cluster-id": identifier
      .optional()
      .describe("Ours as a route reflector; the router-id when a neighbor is an rr-client."),
    "listen-addresses": z.array(address).min(1).optional().describe("All addresses when absent."),
    "listen-port": port.default(179),
    addresses: z
      .array(interfaceAddress)
      .optional()
      .describe("Ours as next hop; those of the interfaces when absent."),
  }),
  families: families.default(["ipv4", "ipv6"]),
  "hold-time": holdTime.default(90).describe("Seconds."),
  "ebgp-policy": z
    .enum(["required", "accept-all"])
    .default("required")
    .describe("RFC 8212: without import and export of its own an external neighbor exchanges no routes."),
  kernel: object({
    install: z
      .boolean()
      .default(true)
      .describe(
        "Write routes. Without, the kernel is not even read, and every next hop counts as reachable.",
      ),
    metric: z.int().min(1).max(2147483646).default(1024),
  }).prefault({}),
  networks: z.array(prefix).default([]).describe("That we announce as our own."),
  filters: z
    .record(z.string(), definitions.BGPFilter.spec)
    .default({})
    .describe("Lists of rules as in a BGPFilter resource."),
  neighbors: z.array(neighbor).default([]),
}).superRefine((file, context) => {
  const seen = new Set<string>();
  for (const [i, { address: peer, import: from, export: to }] of file.neighbors.entries()) {
    const refuse = (path: readonly string[], message: string) =>
      context.addIssue({ code: "custom", path: ["neighbors", i, ...path], message });
    if (seen.has(`${peer.family} ${peer.bits}`)) refuse(["address"], "is given to two neighbors");
    seen.add(`${peer.family} ${peer.bits}`);
    for (const [field, chosen] of [
      ["import", from],
      ["export", to],
    ] as const)
      for (const name of typeof chosen === "object" ? chosen.filters : [])
        if (!(name in file.filters))
          refuse(
            [field],
            `names filter ${name}; there are ${Object.keys(file.filters).join(", ") || "none"}`,
          );
  }
});

export type File = z.output<typeof fileSchema>;
export type Neighbor = File["neighbors"][number];
