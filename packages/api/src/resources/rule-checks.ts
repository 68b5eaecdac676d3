import { familiesOf } from "../fields/addresses.ts";
import { parsePort } from "../fields/ports.ts";
import type { EntityRule, Rule, RuleFields } from "./rule.ts";

export interface Fault {
  readonly path: string[];
  readonly message: string;
}

/** What is wrong between the fields of a rule (calico.md §1.9 "Rule fields"). */
export function ruleFaults(value: RuleFields): Fault[] {
  return [
    ...icmpFaults(value),
    ...(["source", "destination"] as const).flatMap((side) => entityFaults(value, side)),
    ...familyFaults(value),
  ];
}

function icmpFaults({ icmp, notICMP, protocol, ipVersion }: RuleFields): Fault[] {
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

/**
 * Each is a set that the same rule asks for: nf_tables takes 128 expressions a rule (NFT_RULE_MAXEXPRS), four of them for one of these, and with
 * them on both sides all else that a rule may say has room.
 */
const EXCLUDED_NAMES = 8;

/** More names of ports that are not meant than every packet filter takes. What is stored stays in force where one takes it. */
export const excludedNameFaults = (rule: Pick<Rule, "source" | "destination">): Fault[] =>
  (["source", "destination"] as const).flatMap((side) => {
    const ports = rule[side]?.notPorts ?? [];
    const excluded = ports.filter((port) => parsePort(port)?.kind === "named").length;
    if (excluded <= EXCLUDED_NAMES) return [];
    const message = `must be at most ${EXCLUDED_NAMES} names besides numbers, found ${excluded}`;
    return [{ path: [side, "notPorts"], message }];
  });

function entityFaults(rule: RuleFields, side: "source" | "destination"): Fault[] {
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
  const hasBoth = entity?.services && entity.nodeSelector !== undefined;
  if (hasBoth) out.push({ path: [side, "nodeSelector"], message: "must be absent beside `services`" });
  if (entity?.services) {
    const ports = side === "destination" ? (["ports", "notPorts"] as const) : [];
    out.push(...clashes(entity, { side, beside: "services", fields: [...OTHERS, ...ports] }));
  } else if (entity?.nodeSelector !== undefined)
    out.push(...clashes(entity, { side, beside: "nodeSelector", fields: OTHERS }));
  return out;
}

/** What says by itself who is meant. */
export const OTHERS = [
  "nets",
  "notNets",
  "selector",
  "notSelector",
  "namespaceSelector",
  "serviceAccounts",
] as const;

/** What stands beside a field that says by itself who is meant. */
export const clashes = (
  entity: EntityRule,
  { side, beside, fields }: { side: string; beside: string; fields: readonly (keyof EntityRule)[] },
): Fault[] =>
  fields
    .filter((field) => entity[field] !== undefined)
    .map((field) => ({ path: [side, field], message: `must be absent beside \`${beside}\`` }));

/** One rule is rendered per family: its networks must be of one, and of that of `ipVersion`. */
function familyFaults({ source, destination, ipVersion }: RuleFields): Fault[] {
  const entities = [source, destination].filter((e) => !e?.domains); // nets beside those are of no account
  const families = familiesOf(entities.flatMap((e) => [...(e?.nets ?? []), ...(e?.notNets ?? [])]));
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
