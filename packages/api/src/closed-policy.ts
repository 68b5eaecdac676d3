import type { AnyResource } from "./definitions.ts";
import { ApiError } from "./errors.ts";
import { parse, withoutNulls } from "./parse.ts";

/** What may be kept of a policy that is refused: each of these fields, if it can be read by itself. */
const SCOPE = [
  ["tier"],
  ["order"],
  ["selector"],
  ["namespaceSelector"],
  ["serviceAccountSelector"],
  ["applyOnForward", "doNotTrack", "preDNAT"],
] as const;

/** Before all that anybody writes. */
const FIRST = -1e9;

/**
 * What stands for a NetworkPolicy or GlobalNetworkPolicy of ours that is refused: at its place it denies all for the endpoints
 * that it selects. What cannot be read of this is the widest: all endpoints it could mean, both directions, the first of its
 * tier, what is forwarded too. Undefined where not even its name can be kept, and for other kinds.
 */
export function closedPolicy(
  kind: string,
  { metadata, spec }: { readonly metadata: object; readonly spec?: unknown },
): AnyResource | undefined {
  if (kind !== "NetworkPolicy" && kind !== "GlobalNetworkPolicy") return undefined;
  const { name, namespace } = metadata as { name?: unknown; namespace?: unknown };
  const written = (withoutNulls(spec) ?? {}) as Readonly<Record<string, unknown>>;
  const made = (its: object) => {
    const named = { name, ...(namespace !== undefined && { namespace }) };
    return read({ apiVersion: "margay.dev/v1", kind, metadata: named, spec: its });
  };
  const scope = SCOPE.map((fields) => Object.fromEntries(fields.map((field) => [field, written[field]])));
  const kept = scope.filter((fields) => made({ ...fields, types: ["Ingress"] }) !== undefined);
  const isLost = (field: string) => written[field] !== undefined && !kept.some((fields) => field in fields);
  const deny = [{ action: "Deny" }];
  const directions = directionsOf(written, (types) => made({ types }) !== undefined);
  return made({
    ...Object.assign({}, ...kept),
    ...(isLost("order") && { order: FIRST }),
    ...(kind === "GlobalNetworkPolicy" && isLost("applyOnForward") && { applyOnForward: true }),
    types: directions,
    ...(directions.includes("Ingress") && { ingress: deny }),
    ...(directions.includes("Egress") && { egress: deny }),
  });
}

/** As they are said, or as the rules say, empty ones too; both where neither can be read. */
function directionsOf(
  { types, ingress, egress }: Readonly<Record<string, unknown>>,
  isReadable: (types: unknown) => boolean,
): readonly string[] {
  if (types !== undefined && isReadable(types)) return types as readonly string[]; // api read it
  const isIn = types === undefined && Array.isArray(ingress);
  const isOut = types === undefined && Array.isArray(egress);
  if (isIn === isOut) return ["Ingress", "Egress"];
  return isIn ? ["Ingress"] : ["Egress"];
}

function read(document: object): AnyResource | undefined {
  try {
    return parse(document).resource;
  } catch (error) {
    if (error instanceof ApiError) return undefined;
    throw error;
  }
}
