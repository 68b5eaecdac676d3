import * as z from "zod";
import { net } from "../fields/addresses.ts";
import { PROTOCOLS, port, protocol } from "../fields/ports.ts";
import { namespaceSelector, selector } from "../fields/selectors.ts";
import type { SpecOf } from "../resource.ts";
import { ruleFaults } from "./rule-checks.ts";

/** Policy rules, shared by NetworkPolicy, GlobalNetworkPolicy and Profile (calico.md §1.9 "Rule fields"). */

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

/**
 * Calico's bound is 256, but of the exceptions of an `ipBlock` none may go to another rule: each that is missing would be let
 * through. An object of Kubernetes (1.5 MB in etcd) holds hardly more than this; they are one set in the kernel.
 */
const MOST_EXCEPTIONS = 65_536;

const entity = z.object({
  nets: z.array(net()).max(256).optional().describe("Networks, one of which holds the address."),
  notNets: z
    .array(net())
    .max(MOST_EXCEPTIONS)
    .optional()
    .describe("Networks, none of which holds the address."),
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
  nodeSelector: selector
    .optional()
    .describe("Addresses of nodes, by the labels of nodes; not beside other selectors or nets. Margay only."),
  domains: z
    .array(z.string())
    .optional()
    .describe(
      'Addresses that DNS answers give for these names, "*.example.com" for all below it; only in the destination of an egress Allow, and not beside selectors or nets (but for 255.255.255.255/32, which stands there for versions that know no domains).',
    ),
});

const http = z.unknown().superRefine((value, context) => {
  if (value !== undefined)
    context.addIssue({
      code: "custom",
      message: "HTTP matches are not enforced by Margay; remove the field (match ports instead)",
    });
});

const fields = z.object({
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
export const rule = fields.superRefine((value, context) => {
  for (const { path, message } of ruleFaults(value)) context.addIssue({ code: "custom", path, message });
});

export type Rule = SpecOf<typeof rule>;
export type EntityRule = SpecOf<typeof entity>;
/** A rule whose fields are valid one by one. */
export type RuleFields = z.output<typeof fields>;

/**
 * Rules of one direction. Calico's bound is 1,024; a NetworkPolicy of Kubernetes has a rule for each pair of a peer and 50 ports,
 * and is closed where it has more than this: a few kilobytes may ask for millions, and what is in the kernel is walked in line.
 */
export const rules = z.array(rule).max(8192);

/** Where a policy or tier stands. */
export const order = z
  .number()
  .optional()
  .describe("Smaller comes first; absent means last. Ties go by name.");
