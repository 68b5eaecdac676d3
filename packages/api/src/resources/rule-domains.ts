import type { Issue } from "../errors.ts";
import { familiesOf } from "../fields/addresses.ts";
import { domain } from "../fields/domains.ts";
import { formatPath, issuesOf } from "../issues.ts";
import type { EntityRule, Rule } from "./rule.ts";
import { clashes, excludedNameFaults, type Fault, OTHERS } from "./rule-checks.ts";

/**
 * Domains in rules. Versions before took the field anywhere, without effect: what is refused now is still read where it is stored,
 * and has no effect as before (ADR 13).
 */

const MOST_DOMAINS = 256;

/**
 * Stored beside domains, for versions that do not know them: they would read an Allow to a name as one to everywhere, and read one to
 * nowhere. A rule's networks are of its family.
 */
const NOWHERE = { 4: "255.255.255.255/32", 6: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128" } as const;

const isNowhere = ([first, ...more]: readonly string[]): boolean =>
  more.length === 0 && Object.values<string | undefined>(NOWHERE).includes(first);

type Direction = "ingress" | "egress";
type Rules = { readonly [D in Direction]?: readonly Rule[] | undefined };

/** What is wrong with a policy that is written now, and was not for versions before: `Definition.outdated`. */
export const outdatedRules = (spec: Rules): Issue[] =>
  (["ingress", "egress"] as const).flatMap((direction) =>
    (spec[direction] ?? []).flatMap((rule, i) =>
      [...nameFaults(rule), ...placeFaults(rule, direction), ...excludedNameFaults(rule)].map(
        ({ path, message }) => ({
          path: formatPath(["spec", direction, i, ...path]),
          message,
        }),
      ),
    ),
  );

/** With what versions need that do not know domains. */
export function withNowhere<S extends { readonly egress?: readonly Rule[] | undefined }>(spec: S): S {
  if (!spec.egress?.some(isInForce)) return spec;
  const nowhere = (rule: Rule): Rule =>
    isInForce(rule)
      ? { ...rule, destination: { ...rule.destination, nets: [NOWHERE[familyOf(rule)]] } }
      : rule;
  return { ...spec, egress: spec.egress.map(nowhere) };
}

function familyOf({ ipVersion, protocol, source }: Rule): 4 | 6 {
  if (protocol === "ICMPv6" || protocol === 58) return 6;
  const [family = 4] = familiesOf([...(source?.nets ?? []), ...(source?.notNets ?? [])]);
  return ipVersion ?? family;
}

/** Of an egress rule. */
const isInForce = ({ action, destination }: Rule): boolean =>
  destination?.domains !== undefined &&
  destination.domains.length > 0 &&
  placeFaults({ action, destination }, "egress").length === 0;

/** The rule as it is enforced: by its domains alone, or without them where they have no effect. */
export function ruleInForce(rule: Rule, direction: Direction): Rule {
  const { source, destination } = rule;
  if (!source?.domains && !destination?.domains) return rule;
  const byDomains = direction === "egress" && isInForce(rule);
  return {
    ...rule,
    ...(source && { source: withoutDomains(source) }),
    ...(destination && { destination: byDomains ? withoutNets(destination) : withoutDomains(destination) }),
  };
}

const withoutNets = ({ nets: _, ...entity }: EntityRule): EntityRule => entity;
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
  const { nets = [], ...others } = destination;
  const given = isNowhere(nets) ? others : destination;
  const fields = [...OTHERS, "services", "nodeSelector"] as const;
  return [...faults, ...clashes(given, { side: "destination", beside: "domains", fields })];
}
