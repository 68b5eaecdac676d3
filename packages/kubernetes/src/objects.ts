/** meta/v1 ObjectMeta, as far as it is read. */
export interface ObjectMeta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly generation?: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
}

/** Any object of the API. */
export interface KubernetesObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: ObjectMeta;
  readonly [field: string]: unknown;
}

/**
 * The UID by which a pod's node, and so its runtime, calls it: a static pod's is its manifest's hash. Its mirror in the API has
 * another UID, and that hash in an annotation.
 */
export const podUID = ({ uid, annotations }: ObjectMeta): string | undefined =>
  annotations?.["kubernetes.io/config.mirror"] ?? uid;

/** "namespace/name", or "name" of what has no namespace. */
export const nameOf = ({ metadata: { name, namespace } }: KubernetesObject): string =>
  namespace === undefined ? name : `${namespace}/${name}`;
