import {
  type AnyResource,
  APPLIED_FROM,
  formatAppliedFrom,
  type Kind,
  type Resource,
  type ResourceOf,
} from "@margay/api";
import { type Applied, resources, type Store } from "@margay/datastore";
import type { Located } from "./documents.ts";
import { CtlError } from "./error.ts";
import { label } from "./kinds.ts";
import { poolFaults } from "./pool-rules.ts";
import { dump, type Form, type Terminal } from "./terminal.ts";

export interface Result {
  readonly kind: string;
  readonly namespace?: string;
  readonly name: string;
  readonly outcome: string;
}

/**
 * `margay apply`: makes the datastore hold the resources, in order. All are checked before the first is written. Throws CtlError `invalid`
 * (nothing was written) or `incomplete` (a write failed; the message says which were made and which not).
 */
export async function apply(
  store: Store,
  documents: readonly Located[],
  request: { output: Form },
  terminal: Terminal,
): Promise<void> {
  await check(store, documents);
  const done: Result[] = [];
  for (const document of documents) {
    const outcome = await write(store, document).catch((error: unknown) => {
      throw incomplete({ documents, done, error });
    });
    done.push(resultOf(document.resource, outcome));
    if (request.output === "table") terminal.print(`${label(document.resource)} ${shown(outcome, terminal)}`);
  }
  if (request.output !== "table") terminal.print(dump(request.output, done));
}

async function check(store: Store, documents: readonly Located[]): Promise<void> {
  if (!documents.some(({ resource }) => resource.kind === "IPPool")) return;
  const faults = poolFaults(documents, await resources(store, "IPPool").list(undefined, () => {}));
  if (faults.length > 0) throw new CtlError("invalid", `nothing was changed:\n${faults.join("\n")}`);
}

type Outcome = Applied<unknown>["outcome"];

async function write(store: Store, document: Located): Promise<Outcome> {
  const resource = withOrigin(document);
  const { outcome } = await resources<Kind>(store, resource.kind).apply(resource as ResourceOf<Kind>);
  return outcome;
}

const KINDS_WITH_RULES: ReadonlySet<Kind> = new Set<Kind>([
  ...(["NetworkPolicy", "GlobalNetworkPolicy", "Profile"] as const),
  ...(["StagedNetworkPolicy", "StagedGlobalNetworkPolicy", "StagedKubernetesNetworkPolicy"] as const),
]);

const NO_LINES = { ingress: [], egress: [] };

/** What has rules says from which lines of which file: `explain` names the one that decides. */
function withOrigin({ resource, origin, lines }: Located): AnyResource {
  if (!KINDS_WITH_RULES.has(resource.kind)) return resource;
  const { [APPLIED_FROM]: _former, ...others } = resource.metadata.annotations ?? {};
  const isConvertedLater = resource.kind === "StagedKubernetesNetworkPolicy"; // its rules are not yet ours
  const annotations = {
    ...others,
    ...(lines && { [APPLIED_FROM]: formatAppliedFrom(origin, isConvertedLater ? NO_LINES : lines) }),
  };
  const { annotations: _, ...metadata } = resource.metadata;
  const isBare = Object.keys(annotations).length === 0;
  return { ...resource, metadata: { ...metadata, ...(!isBare && { annotations }) } };
}

/** What became of a resource. */
export const resultOf = (
  { kind, metadata }: Pick<Resource, "kind" | "metadata">,
  outcome: string,
): Result => ({
  kind,
  ...(metadata.namespace && { namespace: metadata.namespace }),
  name: metadata.name,
  outcome,
});

function shown(outcome: Outcome, { colours }: Terminal): string {
  if (outcome === "created") return colours.green(outcome);
  return outcome === "configured" ? colours.yellow(outcome) : colours.dim(outcome);
}

/** Where the work stopped, so that it can be finished or undone. Applying the same files again is safe. */
function incomplete({
  documents,
  done,
  error,
}: {
  documents: readonly Located[];
  done: readonly Result[];
  error: unknown;
}): CtlError {
  const failed = documents[done.length];
  const rest = documents.slice(done.length + 1);
  const list = (items: readonly Located[]) =>
    items.length ? items.map(({ resource }) => label(resource)).join(", ") : "none";
  return new CtlError(
    "incomplete",
    [
      `${failed?.origin}: ${failed && label(failed.resource)} was not applied: ${error instanceof Error ? error.message : String(error)}`,
      `applied before it: ${list(documents.slice(0, done.length))}`,
      `not applied: ${list(rest)}`,
      "apply the same files again when the cause is gone; what is applied already stays as it is",
    ].join("\n"),
    error,
  );
}
