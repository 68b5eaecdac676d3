import type { IncomingMessage } from "node:http";
import type { KubernetesObject } from "../objects.ts";

/** What a request is about. */
export interface Place {
  readonly method: string;
  /** "GET /api/v1/pods?limit=500" */
  readonly text: string;
  /** Path of the collection over all namespaces, such as /apis/apps/v1/deployments. */
  readonly collection: string;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly isStatus: boolean;
  readonly query: URLSearchParams;
  readonly metadataOnly: boolean;
}

/** /api/v1/…, /apis/group/version/…, with namespaces, names and the status subresource. */
export function placeOf(request: IncomingMessage): Place {
  const { method = "GET", url = "/", headers } = request;
  const { pathname, searchParams: query } = new URL(url, "http://local");
  const words = pathname.split("/").filter(Boolean);
  const group = words.splice(0, words[0] === "api" ? 2 : 3);
  const isNamespaced = words[0] === "namespaces" && words.length > 2;
  const namespace = isNamespaced ? words[1] : undefined;
  const [plural, name, subresource] = isNamespaced ? words.slice(2) : words;
  return {
    ...{ method, namespace, name, query },
    text: `${method} ${decodeURIComponent(url)}`,
    collection: `/${[...group, plural].join("/")}`,
    isStatus: subresource === "status",
    metadataOnly: headers.accept?.includes("PartialObjectMetadata") === true,
  };
}

/** Namespace and the field selectors that Margay uses. */
export function selects({ namespace, query }: Place, { metadata, spec }: KubernetesObject): boolean {
  const [field, value] = (query.get("fieldSelector") ?? "").split("=");
  const fields: Record<string, unknown> = {
    "spec.nodeName": (spec as { nodeName?: string } | undefined)?.nodeName,
    "metadata.name": metadata.name,
  };
  return (namespace === undefined || metadata.namespace === namespace) && (!field || fields[field] === value);
}
