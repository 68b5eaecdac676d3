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
  const [plural = "", ...rest] = key.slice(ROOT.length).split("/");
  const definition = definitionOf(plural);
  if (definition?.plural !== plural || rest.some((part) => part === "")) return undefined;
  const [first, second] = rest;
  if (definition.scope === "namespaced")
    return rest.length === 2 && first && second
      ? { kind: definition.kind, namespace: first, name: second }
      : undefined;
  return rest.length === 1 && first ? { kind: definition.kind, name: first } : undefined;
}
