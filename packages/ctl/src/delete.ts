import type { Kind, Resource } from "@margay/api";
import { resources, type Store } from "@margay/datastore";
import { deleteNode } from "@margay/ipam";
import { type Result, resultOf } from "./apply.ts";
import { CtlError } from "./error.ts";
import { inUse } from "./in-use.ts";
import { kindNamed, label } from "./kinds.ts";
import { deletePool } from "./pool-delete.ts";
import { dump, type Form, type Terminal } from "./terminal.ts";

/** What names a resource. */
export type Reference = Pick<Resource<Kind>, "kind" | "metadata">;

export interface DeleteRequest {
  readonly force: boolean;
  readonly ignoreNotFound: boolean;
  readonly output: Form;
}

/** References of one kind by name; namespaced ones lie in `namespace`. Throws CtlError `unknown-kind`. */
export function references(kind: string, names: readonly string[], namespace: string): Reference[] {
  const definition = kindNamed(kind);
  return names.map((name) => ({
    kind: definition.kind,
    metadata: { name, ...(definition.scope === "namespaced" && { namespace }) },
  }));
}

/**
 * `margay delete`: all that can be deleted is. Throws CtlError: `refused` before anything is deleted, when something in use would be;
 * `incomplete` or `not-found` at the end, naming what is left.
 */
export async function remove(
  store: Store,
  targets: readonly Reference[],
  request: DeleteRequest,
  terminal: Terminal,
): Promise<void> {
  const reasons = request.force ? [] : await Promise.all(targets.map((target) => inUse(store, target)));
  if (reasons.flat().length > 0)
    throw new CtlError("refused", `nothing was deleted:\n${reasons.flat().join("\n")}`);
  const results: Result[] = [];
  for (const target of targets) {
    const gone = await deleteOne(store, target).catch((error: unknown) => {
      throw incomplete({ target, results, error });
    });
    results.push(resultOf(target, gone ? "deleted" : "not found"));
    if (gone && request.output === "table")
      terminal.print(`${label(target)} ${terminal.colours.red("deleted")}`);
  }
  if (request.output !== "table") terminal.print(dump(request.output, results));
  const missing = targets.filter((_, i) => results[i]?.outcome === "not found").map(label);
  if (missing.length > 0 && !request.ignoreNotFound)
    throw new CtlError("not-found", `not found: ${missing.join(", ")}`);
}

function incomplete({
  target,
  results,
  error,
}: {
  target: Reference;
  results: readonly Result[];
  error: unknown;
}): CtlError {
  const deleted = results.map(({ name }) => name).join(", ") || "none";
  const why = error instanceof Error ? error.message : String(error);
  return new CtlError(
    "incomplete",
    `${label(target)} was not deleted: ${why}\ndeleted before it: ${deleted}`,
    error,
  );
}

function deleteOne(store: Store, { kind, metadata }: Reference): Promise<boolean> {
  if (kind === "IPPool") return deletePool(store, metadata.name);
  if (kind === "Node") return deleteNodeWhole(store, metadata.name);
  return resources(store, kind).delete(metadata.name, metadata.namespace);
}

/** The node, then its addresses and blocks, also those that an earlier attempt left. Resolves to whether there was such a node. */
async function deleteNodeWhole(store: Store, name: string): Promise<boolean> {
  const existed = await resources(store, "Node").delete(name);
  await deleteNode({ store, now: () => new Date() }, name);
  return existed;
}
