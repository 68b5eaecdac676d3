import type { AnyResource } from "./definitions.ts";
import { definitions } from "./definitions.ts";
import { ApiError, type Issue } from "./errors.ts";
import { parseKey } from "./key.ts";
import { check } from "./parse.ts";
import type { Resource } from "./resource.ts";

/** The datastore value of a resource: JSON without resourceVersion, which the datastore itself keeps. */
export function encode(resource: Resource): string {
  const { resourceVersion: _, ...metadata } = resource.metadata;
  return JSON.stringify({ ...resource, metadata });
}

/**
 * The resource of a datastore value, defaults filled in. Throws ApiError `corrupt`, naming the key; of settings, one field that
 * cannot be read does not take the others along: they are the error's `readable`.
 */
export function decode(key: string, value: string): AnyResource {
  const refuse = (issues: readonly Issue[], cause?: unknown) =>
    new ApiError({ code: "corrupt", origin: key, issues, cause });
  const parsed = parseKey(key);
  if (!parsed) throw refuse([{ path: "", message: "the key is not a resource's" }]);
  const definition = definitions[parsed.kind];
  const isOfKey = ({ metadata }: Resource) =>
    metadata.name === parsed.name && metadata.namespace === parsed.namespace;
  const quick = definition.quick(json(value, refuse));
  if (quick && isOfKey(quick)) return quick as AnyResource; // of the kind in the key
  const read = (document: object, fail: (issues: readonly Issue[]) => ApiError): AnyResource => {
    const { resource } = check(definition, document, fail);
    const { name, namespace } = resource.metadata;
    if (!isOfKey(resource))
      throw refuse([
        { path: "metadata", message: `is of ${[namespace, name].filter(Boolean).join("/")}, not of the key` },
      ]);
    return resource;
  };
  const document = json(value, refuse);
  return read(document, (issues) => {
    const rest = definition.settings && withoutFields(document, issues);
    const readable = rest && read(rest, refuse);
    return new ApiError({ code: "corrupt", origin: key, issues, readable });
  });
}

/** Without the fields of the spec that have faults; undefined where a fault is elsewhere. */
function withoutFields(document: { readonly spec?: object }, issues: readonly Issue[]): object | undefined {
  const fields = issues.map(({ path }) => /^spec\.(\w+)/.exec(path)?.[1]);
  if (fields.includes(undefined)) return undefined;
  const kept = Object.entries(document.spec ?? {}).filter(([field]) => !fields.includes(field));
  return { ...document, spec: Object.fromEntries(kept) };
}

function json(value: string, refuse: (issues: Issue[], cause: unknown) => Error): object {
  try {
    const document: unknown = JSON.parse(value);
    return typeof document === "object" && document !== null ? document : {};
  } catch (error) {
    throw refuse([{ path: "", message: "the value is not JSON" }], error);
  }
}
