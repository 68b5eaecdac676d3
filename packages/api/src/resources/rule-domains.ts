import type { Issue } from "../errors.ts";
import { domain } from "../fields/domains.ts";
import { formatPath, issuesOf } from "../issues.ts";
import type { EntityRule, Rule } from "./rule.ts";
import { clashes, type Fault, OTHERS } from "./rule-checks.ts";

/**
 * Domains in rules. Versions before took the field anywhere, without effect: what is refused now is still read where it is stored,
 * and has no effect as before (ADR 13).
 */

const MOST_DOMAINS = 256;

type Direction = "ingress" | "egress";
type Rules = { readonly [D in Direction]?: readonly Rule[] | undefined };

/** What is wrong with the domains of a policy that is written now: `Definition.outdated`. */
export const outdatedDomains = (spec: Rules): Issue[] =>
  (["ingress", "egress"] as const).flatMap((direction) =>
    (spec[direction] ?? []).flatMap((rule, i) =>
      [...nameFaults(rule), ...placeFaults(rule, direction)].map(({ path, message }) => ({
        path: formatPath(["spec", direction, i, ...path]),
        message,
      })),
    ),
  );

/** The rule as it is enforced: without domains where they have no effect. */
export function ruleInForce(rule: Rule, direction: Direction): Rule {
  const { source, destination } = rule;
  const isInForce =
    destination?.domains?.length && placeFaults({ action: rule.action, destination }, direction).length === 0;
  if (!source?.domains && (!destination?.domains || isInForce)) return rule;
  return {
    ...rule,
    ...(source && { source: withoutDomains(source) }),
    ...(destination && !isInForce && { destination: withoutDomains(destination) }),
  };
}

const withoutDomains = ({ domains: _, ...entity }: EntityRule): EntityRule => entity;

function nameFaults({ destination }: Rule): Fault[] {
  const names = destination?.domains;
  if (!names) return [];
  const path = ["destination", "domains"];
  if (names.length === 0 || names.length > MOST_DOMAINS)
    return [{ path, message: `must be 1 to ${MOST_DOMAINS} names, found ${names.length}` }];
  return names.flatMap((name, i) => {
    const { error } = domain.safeParse(name);
    return error ? issuesOf(error, name).map(({ message }) => ({ path: [...path, String(i)], message })) : [];
  });
}

/**
 * Not all addresses of a name are ever known: what is missing of them would be let through by a Deny (network-policy-api,
 * NPEP-133). Whoever sends to a pod has no name that the node could have learnt.
 */
function placeFaults(
  { action, source, destination }: Pick<Rule, "action" | "source" | "destination">,
  direction: Direction,
): Fault[] {
  const faults: Fault[] = [];
  if (source?.domains) faults.push({ path: ["source", "domains"], message: "is for destinations" });
  if (!destination?.domains) return faults;
  const path = ["destination", "domains"];
  if (direction === "ingress") faults.push({ path, message: "is for egress rules" });
  if (action !== "Allow") faults.push({ path, message: `is for action Allow, found ${action}` });
  const fields = [...OTHERS, "services", "nodeSelector"] as const;
  return [...faults, ...clashes(destination, { side: "destination", beside: "domains", fields })];
}
