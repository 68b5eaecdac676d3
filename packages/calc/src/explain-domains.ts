import type { Calc } from "./calc.ts";
import type { Told } from "./explanation.ts";
import type { Place } from "./place.ts";

/**
 * Which addresses a domain has a node learns from DNS, and the datastore does not say. Only an Allow may name one: what is the same when no
 * domain has any, and when all have these, is certain. Tells the second to each node that has such a rule. @returns those nodes
 */
export function learnAll(calcs: ReadonlyMap<string, Calc>, places: readonly Place[]): readonly string[] {
  const addresses = places.flatMap((place) => place.addresses);
  return [...calcs].flatMap(([node, calc]) => {
    const meant = calc.domainsMeant();
    for (const domain of meant) calc.setDomain(domain.replace("*", "any"), addresses);
    return meant.length > 0 ? [node] : [];
  });
}

/** What is told without a domain's address, or that it depends on those. */
export function byDomains(without: Told, learnt: Told, nodes: readonly string[]): Told {
  if (without.verdict === learnt.verdict) return without;
  const { because, destination } = without;
  const unless = `unless DNS told ${nodes.join(", ")} that ${destination.address} belongs to a domain of a rule (\`margay policy domains\` there)`;
  return { ...without, verdict: "unknown", because: `${because}; ${unless}: then ${learnt.because}` };
}
