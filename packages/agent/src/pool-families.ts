import { evaluate, type IPPool, type Labels, parseSelector } from "@margay/api";
import { type Family, parsePrefix } from "@margay/net";

/** Families of the pools that give pods of a node addresses unasked: those of a namespace, or any. */
export function familiesOf(
  pools: readonly IPPool[],
  { node, namespace }: { readonly node: Labels; readonly namespace?: Labels },
): Family[] {
  const open = pools.filter(
    ({ spec }) =>
      !spec.disabled &&
      spec.assignmentMode === "Automatic" &&
      spec.allowedUses.includes("Workload") &&
      evaluate(parseSelector(spec.nodeSelector), node) &&
      (!namespace || !spec.namespaceSelector || evaluate(parseSelector(spec.namespaceSelector), namespace)),
  );
  return [...new Set(open.map(({ spec }) => parsePrefix(spec.cidr).family))];
}
