import { definitionOf, definitions, type Kind } from "./definitions.ts";

/** Prefix of every key; one watch on it sees the whole datastore in one order. */
export const ROOT = "/margay/v1/";

/** The prefix of the keys of one kind, with the final "/". */
export const kindPrefix = (kind: Kind): string => `${ROOT}${definitions[kind].plural}/`;

/** The key of a resource. RangeError when a namespace is missing or superfluous. */
export function keyOf(kind: Kind, name: string, namespace?: string): string {
  const namespaced = definitions[kind].scope === "namespaced";
  if (namespaced !== (namespace !== undefined))
    throw new RangeError(
      `${kind} ${name}: ${namespaced ? "namespace missing" : `namespace ${namespace} given`}`,
    );
  return `${kindPrefix(kind)}${namespaced ? `${namespace}/` : ""}${name}`;
}

/** What a key names; undefined when it is not a resource's (a barrier's, or foreign). */
export function parseKey(key: string): { kind: Kind; namespace?: string; name: string } | undefined {
  if (!key.startsWith(ROOT)) return undefined;
  const end = key.indexOf("/", ROOT.length);
  const plural = key.slice(ROOT.length, end);
  const definition = definitionOf(plural);
  if (end < 0 || definition?.plural !== plural) return undefined;
  const { kind, scope } = definition;
  const slash = scope === "namespaced" ? key.indexOf("/", end + 1) : end;
  const name = key.slice(slash + 1);
  if (slash < 0 || name === "" || name.includes("/")) return undefined;
  if (scope === "cluster") return { kind, name };
  return slash > end + 1 ? { kind, namespace: key.slice(end + 1, slash), name } : undefined;
}
