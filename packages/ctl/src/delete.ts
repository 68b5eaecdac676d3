import type { IPPool, Kind, Resource, ResourceOf } from "@margay/api";
import { resources, type Store } from "@margay/datastore";
import { parsePools, summarise } from "@margay/ipam";
import type { Result } from "./apply.ts";
import { CtlError } from "./error.ts";
import { kindNamed, label } from "./kinds.ts";
import { json, type Terminal } from "./terminal.ts";

/** What names a resource. */
export type Reference = Pick<Resource<Kind>, "kind" | "metadata">;

export interface DeleteRequest {
  readonly force: boolean;
  readonly ignoreNotFound: boolean;
  readonly output: "table" | "json";
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
  const reasons = request.force
    ? []
    : (await Promise.all(targets.map((target) => inUse(store, target)))).flat();
  if (reasons.length > 0) throw new CtlError("refused", `nothing was deleted:\n${reasons.join("\n")}`);
  const results: Result[] = [];
  const missing: string[] = [];
  for (const target of targets) {
    const { kind, metadata } = target;
    const gone = await deleteOne(store, target).catch((error: unknown) => {
      const deleted = results.map(({ name }) => name).join(", ") || "none";
      const why = error instanceof Error ? error.message : String(error);
      throw new CtlError(
        "incomplete",
        `${label(target)} was not deleted: ${why}\ndeleted before it: ${deleted}`,
        error,
      );
    });
    if (!gone) missing.push(label(target));
    const outcome = gone ? "deleted" : "not found";
    results.push({
      kind,
      ...(metadata.namespace && { namespace: metadata.namespace }),
      name: metadata.name,
      outcome,
    });
    if (gone && request.output === "table")
      terminal.print(`${label(target)} ${terminal.colours.red("deleted")}`);
  }
  if (request.output === "json") terminal.print(json(results));
  if (missing.length > 0 && !request.ignoreNotFound)
    throw new CtlError("not-found", `not found: ${missing.join(", ")}`);
}

const deleteOne = (store: Store, { kind, metadata }: Reference): Promise<boolean> =>
  resources(store, kind).delete(metadata.name, metadata.namespace);

/** Why deleting would break what others rely on. */
async function inUse(store: Store, target: Reference): Promise<string[]> {
  if (target.kind === "IPPool") return poolInUse(store, target.metadata.name);
  if (target.kind === "Tier") return tierInUse(store, target.metadata.name);
  return [];
}

async function poolInUse(store: Store, name: string): Promise<string[]> {
  const pool: IPPool | undefined = await resources(store, "IPPool").get(name);
  if (!pool) return [];
  const blocks = await resources(store, "IPAMBlock").list(undefined, () => {});
  const [usage] = summarise(
    parsePools([pool]),
    blocks.map(({ spec }) => spec),
  ).pools;
  if (!usage?.inUse) return [];
  return [
    `ippool/${name}: ${usage.inUse} of its addresses are in use; set spec.disabled: true, delete the pods that have them ` +
      "(margay ipam show --show-blocks), then delete the pool. --force deletes it now and leaves their blocks behind",
  ];
}

async function tierInUse(store: Store, name: string): Promise<string[]> {
  const policies: ResourceOf<"NetworkPolicy" | "GlobalNetworkPolicy">[] = (
    await Promise.all([
      resources(store, "NetworkPolicy").list(undefined, () => {}),
      resources(store, "GlobalNetworkPolicy").list(undefined, () => {}),
    ])
  ).flat();
  const inside = policies.filter(({ spec }) => spec.tier === name).map(label);
  if (inside.length === 0) return [];
  return [
    `tier/${name}: holds ${inside.length} policies (${inside.slice(0, 5).join(", ")}); delete or move them first, or use --force`,
  ];
}
