import { evaluate, type Labels, or, type Selector } from "@margay/api";
import { type Address, formatAddress } from "@margay/net";
import type { Contribution } from "./active-sets.ts";
import type { SetSpec } from "./set-spec.ts";

/**
 * Domains as labelled items, so that wildcards are selectors like any other: `www.example.com` bears the labels
 * `www.example.com`, `*.example.com` and `*.com`, and `*.example.com` in a rule means what bears it. The values do not matter.
 */
export function domainLabels(domain: string): Labels {
  const labels = domain.split(".");
  const wildcards = labels.slice(1).map((_, i) => `*.${labels.slice(i + 1).join(".")}`);
  return Object.fromEntries([domain, ...wildcards].map((pattern) => [pattern, ""]));
}

/** What any of the names, of which some may be wildcards, stands for. */
export const domainsOf = (names: readonly string[]): SetSpec => ({
  among: "domains",
  selector: or([...new Set(names.map(domainName))].sort().map((label) => ({ kind: "has", label }))),
});

/** As names are compared: without case, and without the dot of the root (RFC 4343; RFC 1034 §3.1). */
export const domainName = (text: string): string => text.toLowerCase().replace(/\.$/, "");

export const domainContribution = (addresses: readonly Address[]): Contribution => ({
  ...{ among: "domains", nets: addresses.map(formatAddress), ports: [] },
});

/** Whether any of the selectors means a domain. */
export function domainMeant(
  domain: string,
  selectors: Iterable<Selector>,
): "in full" | "by wildcard" | undefined {
  const labels = domainLabels(domain);
  let found: "by wildcard" | undefined;
  for (const selector of selectors) {
    if (evaluate(selector, { [domain]: "" })) return "in full";
    if (evaluate(selector, labels)) found = "by wildcard";
  }
  return found;
}

/** The names in selectors that `domainsOf` made. */
export function domainsIn(selectors: Iterable<Selector>): readonly string[] {
  const labels = (selector: Selector): readonly string[] => {
    if (selector.kind === "has") return [selector.label];
    return selector.kind === "or" ? selector.operands.flatMap(labels) : [];
  };
  return [...new Set([...selectors].flatMap(labels))].sort();
}
