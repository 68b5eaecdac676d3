import { type AnyResource, encode } from "@margay/api";

/** On everything that the controllers write: what it was made from. Without it an entry is somebody else's and stays. */
export const MADE_FROM = "margay.dev/made-from";

/** kubectl's own bookkeeping, as long as the object itself. */
const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration";

/**
 * The datastore's text of a resource that was made from an object of such a kind, "v1 Namespace", with `more` annotations.
 * Equal input, equal text.
 */
export function markedText(
  resource: AnyResource,
  madeFrom: string,
  more: Readonly<Record<string, string>> = {},
): string {
  const { name, namespace, labels, annotations } = resource.metadata;
  const { [LAST_APPLIED]: _, ...others } = annotations ?? {};
  const metadata = {
    name,
    ...(namespace !== undefined && { namespace }),
    ...(labels && Object.keys(labels).length > 0 && { labels }),
    annotations: { ...others, ...more, [MADE_FROM]: madeFrom },
  };
  return encode({ ...resource, metadata });
}

/** Whether an entry's text bears the mark of that kind. */
export const isMadeFrom = (text: string, madeFrom: string): boolean =>
  text.includes(`${JSON.stringify(MADE_FROM)}:${JSON.stringify(madeFrom)}`);
