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

/** The resource of a datastore value, defaults filled in. Throws ApiError `corrupt`, naming the key. */
export function decode(key: string, value: string): AnyResource {
  const refuse = (issues: readonly Issue[], cause?: unknown) =>
    new ApiError({ code: "corrupt", origin: key, issues, cause });
  const parsed = parseKey(key);
  if (!parsed) throw refuse([{ path: "", message: "the key is not a resource's" }]);
  const { resource } = check(definitions[parsed.kind], json(value, refuse), refuse);
  const { name, namespace } = resource.metadata;
  if (name !== parsed.name || namespace !== parsed.namespace)
    throw refuse([
      { path: "metadata", message: `is of ${[namespace, name].filter(Boolean).join("/")}, not of the key` },
    ]);
  return resource;
}

function json(value: string, refuse: (issues: Issue[], cause: unknown) => Error): object {
  try {
    const document: unknown = JSON.parse(value);
    return typeof document === "object" && document !== null ? document : {};
  } catch (error) {
    throw refuse([{ path: "", message: "the value is not JSON" }], error);
  }
}
