import { z } from "zod";
import { familiesOf, namespaceSelector, net, selector, text } from "../fields.ts";
import type { SpecOf } from "../resource.ts";

/** Policy rules, shared by NetworkPolicy, GlobalNetworkPolicy and Profile (calico.md §1.9 "Rule fields"). */

const PROTOCOLS = ["TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite"] as const;
const PROTOCOL_RULE = `must be one of ${PROTOCOLS.join(", ")}, or a number 1 to 255`;
const PORT_RULE = 'must be a port 0 to 65535, a range "low:high" of them, or a port name';

/** A protocol by name (any case, made canonical) or number. */
const protocol = z
  .union([z.number(), z.string()], { error: PROTOCOL_RULE })
  .transform((value, context) => {
    const known = canonicalProtocol(value);
    if (known !== undefined) return known;
    context.addIssue({ code: "custom", message: PROTOCOL_RULE, input: value });
    return z.NEVER;
  })
  .meta({ intOrString: true });

function canonicalProtocol(value: number | string): number | string | undefined {
  const named = PROTOCOLS.find((name) => name.toLowerCase() === String(value).toLowerCase());
  if (named) return named;
  const number = /^\d{1,3}$/.test(String(value)) ? Number(value) : Number.NaN;
  return number >= 1 && number <= 255 ? number : undefined;
}

const port = z
  .union([z.number(), z.string()], { error: PORT_RULE })
  .superRefine((value, context) => {
    if (parsePort(value) === undefined) context.addIssue({ code: "custom", message: PORT_RULE });
  })
  .meta({ intOrString: true });

/** What a rule's port means: an inclusive range, or the name of a port of the endpoint. */
export type PortMatch =
  | { readonly kind: "range"; readonly low: number; readonly high: number }
  | { readonly kind: "named"; readonly name: string };

/** Parses a rule's port: 80, "80", "8000:8080" or "http". Undefined when it is none of them. */
export function parsePort(value: number | string): PortMatch | undefined {
  const range = /^(\d{1,5})(?::(\d{1,5}))?$/.exec(String(value));
  if (!range)
    return /^[a-zA-Z0-9_.-]{1,128}$/.test(String(value)) && !/^[-.\d]+$/.test(String(value))
      ? { kind: "named", name: String(value) }
      : undefined;
  const [low, high] = [Number(range[1]), Number(range[2] ?? range[1])];
  return low <= high && high <= 65535 ? { kind: "range", low, high } : undefined;
}

const icmp = z
  .object({
    type: z.int().min(0).max(254).optional().describe("ICMP type."),
    code: z.int().min(0).max(255).optional().describe("ICMP code; needs `type`."),
  })
  .superRefine((value, context) => {
    if (value.code !== undefined && value.type === undefined)
      context.addIssue({ code: "custom", path: ["code"], message: "needs `type` beside it" });
  });

const serviceAccounts = z.object({
  names: z.array(z.string()).optional().describe("Names of service accounts; empty means any."),
  selector: selector.optional().describe("Selector over the labels of service accounts."),
});

const services = z.object({
  name: z.string().min(1).describe("Name of the Service."),
  namespace: z
    .string()
    .optional()
    .describe("Its namespace; that of the policy by default, required in a GlobalNetworkPolicy."),
});

const entity = z.object({
  nets: z.array(net()).max(256).optional().describe("Networks, one of which holds the address."),
  notNets: z.array(net()).max(256).optional().describe("Networks, none of which holds the address."),
  selector: selector
    .optional()
    .describe(
      "Endpoints and network sets, by label; of the policy's own namespace unless `namespaceSelector` is given.",
    ),
  notSelector: selector.optional().describe("Endpoints and network sets that do not match."),
  namespaceSelector: namespaceSelector
    .optional()
    .describe("Namespaces, by label; `global()` for objects without one."),
  ports: z
    .array(port)
    .max(50)
    .optional()
    .describe('Ports: a number, a range "low:high" or a name; need a protocol with ports.'),
  notPorts: z.array(port).max(50).optional().describe("Ports that do not match."),
  serviceAccounts: serviceAccounts.optional().describe("Service accounts of the pods."),
  services: services.optional().describe("Backends of a Service; not beside selectors or nets."),
});

const http = z.unknown().superRefine((value, context) => {
  if (value !== undefined)
    context.addIssue({
      code: "custom",
      message: "HTTP matches are not enforced by Margay; remove the field (match ports instead)",
    });
});

const RULE = z.object({
  action: z
    .enum(["Allow", "Deny", "Log", "Pass"])
    .describe("Allow and Deny end; Log goes on; Pass leaves the tier."),
  ipVersion: z
    .union([z.literal(4), z.literal(6)], { error: "must be 4 or 6" })
    .optional()
    .describe("Only packets of this IP version."),
  protocol: protocol.optional().describe(`Protocol: ${PROTOCOLS.join(", ")} or 1 to 255.`),
  notProtocol: protocol.optional().describe("Protocol that does not match."),
  icmp: icmp.optional().describe("ICMP type and code; needs protocol ICMP or ICMPv6."),
  notICMP: icmp.optional().describe("ICMP type and code that do not match."),
  source: entity.optional().describe("Where the packet comes from."),
  destination: entity.optional().describe("Where the packet goes to."),
  http: http.optional().describe("Refused: HTTP matches are not enforced."),
  metadata: z
    .object({ annotations: z.record(z.string(), z.string()).optional().describe("Free text.") })
    .optional()
    .describe("Annotations of the rule."),
});

/** A rule, with the checks between its fields. */
export const rule = RULE.superRefine((value, context) => {
  for (const { path, message } of faults(value)) context.addIssue({ code: "custom", path, message });
});

export type Rule = SpecOf<typeof rule>;
export type EntityRule = SpecOf<typeof entity>;

interface Fault {
  readonly path: string[];
  readonly message: string;
}

function faults(value: z.output<typeof RULE>): Fault[] {
  return [
    ...icmpFaults(value),
    ...(["source", "destination"] as const).flatMap((side) => entityFaults(value, side)),
    ...familyFaults(value),
  ];
}

function icmpFaults({ icmp, notICMP, protocol, ipVersion }: z.output<typeof RULE>): Fault[] {
  const out: Fault[] = [];
  const isIcmp = protocol === "ICMP" || protocol === 1;
  const isIcmp6 = protocol === "ICMPv6" || protocol === 58;
  const field = icmp ? "icmp" : notICMP ? "notICMP" : undefined;
  if (field && !isIcmp && !isIcmp6)
    out.push({ path: [field], message: `needs protocol ICMP or ICMPv6, found ${shown(protocol)}` });
  if (ipVersion !== undefined && (isIcmp ? ipVersion === 6 : isIcmp6 && ipVersion === 4))
    out.push({ path: ["ipVersion"], message: `must be ${isIcmp ? 4 : 6} with protocol ${protocol}` });
  return out;
}

const PORT_PROTOCOLS: readonly unknown[] = ["TCP", "UDP", "SCTP", 6, 17, 132];

function entityFaults(rule: z.output<typeof RULE>, side: "source" | "destination"): Fault[] {
  const out: Fault[] = [];
  const entity = rule[side];
  for (const field of ["ports", "notPorts"] as const)
    if (entity?.[field]?.length && !PORT_PROTOCOLS.includes(rule.protocol))
      out.push({
        path: [side, field],
        message: `need protocol TCP, UDP or SCTP, found ${shown(rule.protocol)}`,
      });
  for (const [i, value] of (entity?.notNets ?? []).entries())
    if (value.endsWith("/0"))
      out.push({
        path: [side, "notNets", String(i)],
        message: `must not exclude everything, found ${value}`,
      });
  return entity?.services ? [...out, ...serviceFaults(entity, side)] : out;
}

function serviceFaults(entity: EntityRule, side: "source" | "destination"): Fault[] {
  const others = [
    "nets",
    "notNets",
    "selector",
    "notSelector",
    "namespaceSelector",
    "serviceAccounts",
  ] as const;
  const clash = [...others, ...(side === "destination" ? (["ports", "notPorts"] as const) : [])];
  return clash
    .filter((field) => entity[field] !== undefined)
    .map((field) => ({ path: [side, field], message: "must be absent beside `services`" }));
}

/** One rule is rendered per family: its networks must be of one, and of that of `ipVersion`. */
function familyFaults({ source, destination, ipVersion }: z.output<typeof RULE>): Fault[] {
  const families = familiesOf(
    [source, destination].flatMap((e) => [...(e?.nets ?? []), ...(e?.notNets ?? [])]),
  );
  if (families.size > 1)
    return [{ path: [], message: "must not mix IPv4 and IPv6 networks; make one rule of each" }];
  const [family] = families;
  if (family !== undefined && ipVersion !== undefined && family !== ipVersion)
    return [
      {
        path: ["ipVersion"],
        message: `must be ${family}, the family of the rule's networks, found ${ipVersion}`,
      },
    ];
  return [];
}

const shown = (value: unknown): string => (value === undefined ? "none" : JSON.stringify(value));

/** At most 1024 rules in one direction. */
export const rules = z.array(rule).max(1024);

/** Why `order` is refused is zod's; absent means after all others. */
export const order = z
  .number()
  .optional()
  .describe("Smaller comes first; absent means last. Ties go by name.");

/** The name of a tier: a DNS label, so that policy names can be told from it. */
export const tierName = (name: string): string | undefined =>
  /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name)
    ? undefined
    : "must be a DNS label: at most 63 of a-z 0-9 '-', beginning and ending with a letter or digit";

/** A reference to a tier. */
export const tier = text(tierName).default("default").describe("The tier the policy belongs to.");
