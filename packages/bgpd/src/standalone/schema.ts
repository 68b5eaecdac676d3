/**
 * The file of `margay bgpd --config-file`: every field once, with its default and what it means. Files write the names with
 * dashes, `hold-time` for `holdTime`; what a BGPPeer can say of its session too has its one definition there.
 */
import { definitions, md5Password, sessionFields } from "@margay/api";
import { contains, formatAddress, formatPrefix, NetError, parseAddress, parsePrefix } from "@margay/net";
import * as z from "zod";
import { isLinkLocal } from "../config.ts";

/** `holdTime` as files have it, `hold-time`. */
export const dashed = (name: string): string =>
  name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** An object that names, beside a field that it does not have, those that it has. */
const object = <T extends z.ZodRawShape>(shape: T) =>
  z.strictObject(shape, {
    error: (issue) =>
      issue.code === "unrecognized_keys"
        ? `has no ${issue.keys.map(dashed).join(", ")}; there are ${Object.keys(shape).map(dashed).join(", ")}`
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
/** Nobody has these: 0/8, multicast and class E, ::, ff00::/8. */
const nobodys = ["0.0.0.0/8", "224.0.0.0/3", "::/128", "ff00::/8"].map((text) => parsePrefix(text));
const host = address.refine((a) => !nobodys.some((n) => contains(n, a)), "must be the address of a host");
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

const neighbor = object({
  ...sessionFields,
  name: z.string().optional().describe("For people; the address when absent."),
  address: host.optional().describe("Of the peer."),
  listenRange: prefix
    .optional()
    .describe("Instead of an address: peers are all that connect from this network."),
  listenLimit: z.int().min(1).max(10000).default(100).describe("At most so many of them at a time."),
  as: as.describe("Of the peer; ours makes it an internal one."),
  port: port.default(179).describe("That we connect to."),
  password: md5Password.optional().describe("TCP-MD5 (RFC 2385). A changed one is taken up without a reset."),
  passwordFile: z.string().min(1).optional().describe("Instead of password: a file that holds it."),
  passwordEnv: z
    .string()
    .min(1)
    .optional()
    .describe("Instead of password: a variable of the environment that holds it."),
  ttlSecurity: z
    .int()
    .min(1)
    .max(254)
    .optional()
    .describe("GTSM (RFC 5082): the peer is at most so many hops away."),
  rrClient: z.boolean().default(false).describe("Reflect routes to it and from it (RFC 4456)."),
  localAs: as.optional().describe("Ours towards this peer."),
  sourceAddress: address
    .optional()
    .describe("Ours of this session; the one in the peer's subnet when absent."),
  nextHop: z.enum(["auto", "self", "keep"]).default("auto").describe("Of what we announce."),
  reachableBy: address.optional().describe("Gateway through which the peer is reached."),
  restartTime: z
    .int()
    .min(0)
    .max(4095)
    .default(120)
    .describe("How long it keeps our routes (RFC 4724), seconds."),
  allowedLocalAs: z.int().min(0).max(10).default(0).describe("How often our AS may stand in a path from it."),
  import: policy
    .optional()
    .describe("What is accepted. Absent: all from internal peers, see ebgp-policy for others."),
  export: policy.optional().describe("What is announced. Absent: as with import."),
}).superRefine((value, context) => {
  const refuse = (path: string, message: string) =>
    context.addIssue({ code: "custom", path: [path], message });
  if (value.address && value.listenRange) refuse("address", "must be absent beside listen-range");
  if (!value.address && !value.listenRange && value.interface === undefined)
    refuse("address", "must be given, or listen-range, or interface alone");
  const passwords = (["password", "passwordFile", "passwordEnv"] as const).filter(
    (f) => value[f] !== undefined,
  );
  for (const field of passwords.slice(1))
    refuse(field, `must be absent beside ${dashed(passwords[0] ?? "")}`);
  if (value.address && isLinkLocal(value.address) && value.interface === undefined)
    refuse("interface", "is required with a link-local address");
});

export const fileSchema = object({
  local: object({
    as: as.describe("Our AS number."),
    routerId: identifier.describe("Our BGP Identifier."),
    clusterId: identifier
      .optional()
      .describe("Ours as a route reflector; the router-id when a neighbor is an rr-client."),
    listenAddresses: z.array(address).min(1).optional().describe("All addresses when absent."),
    listenPort: port.default(179),
    addresses: z
      .array(interfaceAddress)
      .optional()
      .describe("Ours as next hop; those of the interfaces when absent."),
  }),
  families: families.default(["ipv4", "ipv6"]),
  holdTime: sessionFields.holdTime.unwrap().default(90).describe("Hold time of neighbors that name none."),
  ebgpPolicy: z
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
    unreachable: z
      .boolean()
      .default(false)
      .describe(
        "Write an unreachable route for each of `networks`: what has no route in there goes nowhere.",
      ),
    blackhole: z
      .boolean()
      .default(false)
      .describe("Instead of unreachable: a blackhole route, of which a sender hears nothing."),
  })
    .refine((kernel) => !(kernel.unreachable && kernel.blackhole), {
      path: ["blackhole"],
      message: "must be absent beside unreachable",
    })
    .prefault({}),
  networks: z.array(prefix).default([]).describe("That we announce as our own."),
  filters: z
    .record(z.string(), definitions.BGPFilter.spec)
    .default({})
    .describe("Lists of rules as in a BGPFilter resource."),
  neighbors: z.array(neighbor).default([]),
}).superRefine((file, context) => {
  const seen = new Set<string>();
  for (const [i, neighbor] of file.neighbors.entries()) {
    const refuse = (field: string, message: string) =>
      context.addIssue({ code: "custom", path: ["neighbors", i, field], message });
    for (const [field, value] of Object.entries(namesOf(neighbor))) {
      if (seen.has(`${field} ${value}`)) refuse(field, "is given to two neighbors");
      seen.add(`${field} ${value}`);
    }
    const isInternal = neighbor.as === (neighbor.localAs ?? file.local.as);
    if (neighbor.rrClient && !isInternal)
      refuse("rrClient", "must be absent: the neighbor's AS is another (RFC 4456)");
    if (neighbor.role && isInternal) refuse("role", "must be absent: the neighbor's AS is ours (RFC 9234)");
    for (const field of ["import", "export"] as const)
      for (const name of filtersIn(neighbor[field]))
        if (!Object.hasOwn(file.filters, name))
          refuse(field, `names filter ${name}; there are ${Object.keys(file.filters).join(", ") || "none"}`);
  }
});

const filtersIn = (chosen: z.output<typeof policy> | undefined) =>
  typeof chosen === "object" ? chosen.filters : [];

/** What a neighbor is told from others by. */
function namesOf({ name, address, listenRange, interface: device }: z.output<typeof neighbor>) {
  return {
    ...(name === undefined ? {} : { name }),
    ...(address ? { address: formatAddress(address) } : {}),
    ...(listenRange ? { listenRange: formatPrefix(listenRange) } : {}),
    ...(address || listenRange || device === undefined ? {} : { interface: device }),
  };
}

export type File = z.output<typeof fileSchema>;
export type Neighbor = File["neighbors"][number];
