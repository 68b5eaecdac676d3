import { type AnyDefinition, didYouMean, type Resource } from "@margay/api";
import { resources, type Store } from "@margay/datastore";
import { stringify } from "yaml";
import { CtlError } from "./error.ts";
import { kindNamed, label } from "./kinds.ts";
import { dump, type Terminal, table } from "./terminal.ts";

export const formats = ["table", "wide", "yaml", "json", "name"] as const;

export interface GetRequest {
  readonly kind: string;
  readonly name?: string | undefined;
  /** For namespaced kinds. */
  readonly namespace: string;
  readonly allNamespaces: boolean;
  readonly output: (typeof formats)[number];
}

/** `margay get`: one resource, or all of a kind. Throws CtlError `unknown-kind` or `not-found`. */
export async function get(store: Store, request: GetRequest, terminal: Terminal): Promise<void> {
  const definition = kindNamed(request.kind);
  const found = await find(store, { ...request, definition }, terminal);
  if (found.length === 0 && request.output !== "json")
    return terminal.warn(`no ${definition.plural} ${where(definition, request)}`.trimEnd());
  terminal.print(render(found, { ...request, definition }, terminal));
}

type Search = GetRequest & { readonly definition: AnyDefinition };

async function find(store: Store, request: Search, terminal: Terminal): Promise<Resource[]> {
  const { definition, name, allNamespaces } = request;
  const collection = resources(store, definition.kind);
  const namespace = definition.scope === "namespaced" ? request.namespace : undefined;
  if (name === undefined)
    return collection.list(allNamespaces ? undefined : namespace, (error) =>
      terminal.warn(`skipped: ${error.message}`),
    );
  if (allNamespaces)
    throw new CtlError("usage", "a name and --all-namespaces exclude each other: say which with --namespace");
  const resource = await collection.get(name, namespace);
  if (resource) return [resource];
  const others = await collection.list(namespace, () => {});
  const meant = didYouMean(
    name,
    others.map(({ metadata }) => metadata.name),
  );
  throw new CtlError(
    "not-found",
    `${definition.kind} ${name} does not exist ${where(definition, request)}`.trimEnd() + meant,
  );
}

function where({ scope }: AnyDefinition, { namespace, allNamespaces }: GetRequest): string {
  if (scope === "cluster") return "";
  return allNamespaces ? "in any namespace" : `in namespace ${namespace} (see -n and -A)`;
}

function render(found: readonly Resource[], request: Search, terminal: Terminal): string {
  const { output, name } = request;
  switch (output) {
    case "name":
      return found.map(label).join("\n");
    case "json":
      return dump(
        output,
        name === undefined ? { apiVersion: "margay.dev/v1", kind: "List", items: found } : found[0],
      );
    case "yaml":
      return found.map((resource) => stringify(resource)).join("---\n");
    default:
      return resourceTable(found, request, terminal);
  }
}

function resourceTable(found: readonly Resource[], request: Search, terminal: Terminal): string {
  const { definition, allNamespaces, output } = request;
  const columns = definition.columns.filter((column) => output === "wide" || !column.wide);
  const withNamespace = allNamespaces && definition.scope === "namespaced";
  const head = [...(withNamespace ? ["NAMESPACE"] : []), "NAME", ...columns.map(({ title }) => title)];
  const rows = found.map((resource) => [
    ...(withNamespace ? [resource.metadata.namespace] : []),
    resource.metadata.name,
    // The collection holds resources of the definition's kind.
    ...columns.map((column) => column.value(resource as Resource<AnyDefinition["kind"]>)),
  ]);
  return table(terminal, head, rows);
}
