import type * as z from "zod";
import { ApiError, type Issue } from "../errors.ts";
import { nameIn, type Parsed, parse, validate, withoutNulls } from "../parse.ts";
import {
  adminNetworkPolicyFrom,
  baselineAdminNetworkPolicyFrom,
  kubernetesAdminNetworkPolicy,
  kubernetesBaselineAdminNetworkPolicy,
} from "./admin-network-policy.ts";
import { clusterNetworkPolicyFrom, kubernetesClusterNetworkPolicy } from "./cluster-network-policy.ts";
import { endpointSliceFrom, kubernetesEndpointSlice } from "./endpoint-slice.ts";
import { kubernetesNamespace, profileFrom } from "./namespace.ts";
import { kubernetesNetworkPolicy, networkPolicyFrom } from "./network-policy.ts";
import { kubernetesServiceAccount, serviceAccountProfileFrom } from "./service-account.ts";

interface Conversion<S extends z.ZodType> {
  readonly schema: S;
  readonly convert: (object: z.output<S>) => object;
}

const conversion = <S extends z.ZodType>(
  schema: S,
  convert: (object: z.output<S>) => object,
): Conversion<z.ZodType> => ({
  schema,
  // `parseKubernetes` gives `convert` what the same row's schema gave.
  convert: convert as (object: unknown) => object,
});

const conversions: Readonly<Record<string, Conversion<z.ZodType>>> = {
  "v1 Namespace": conversion(kubernetesNamespace, profileFrom),
  "v1 ServiceAccount": conversion(kubernetesServiceAccount, serviceAccountProfileFrom),
  "policy.networking.k8s.io/v1alpha1 AdminNetworkPolicy": conversion(
    kubernetesAdminNetworkPolicy,
    adminNetworkPolicyFrom,
  ),
  "policy.networking.k8s.io/v1alpha1 BaselineAdminNetworkPolicy": conversion(
    kubernetesBaselineAdminNetworkPolicy,
    baselineAdminNetworkPolicyFrom,
  ),
  "policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy": conversion(
    kubernetesClusterNetworkPolicy,
    clusterNetworkPolicyFrom,
  ),
  "discovery.k8s.io/v1 EndpointSlice": conversion(kubernetesEndpointSlice, endpointSliceFrom),
  "networking.k8s.io/v1 NetworkPolicy": conversion(kubernetesNetworkPolicy, networkPolicyFrom),
};

/** Kubernetes kinds that `parseKubernetes` converts, as "apiVersion kind". */
export const kubernetesKinds: readonly string[] = Object.keys(conversions);

/**
 * Characters of what is stored. etcd takes 1.5 MiB in a request; what is refused here is closed before it is sent there. One object may
 * become much more than it is, as each list of ports repeats its peers.
 */
const LARGEST = 1_400_000;

/** Validates a Kubernetes object and converts it; undefined when it is of no kind that can be. Throws ApiError `invalid`. */
export function parseKubernetes(document: unknown, origin?: string): Parsed | undefined {
  const kind = kubernetesKinds.find((name) => name === kindIn(document));
  const found = kind === undefined ? undefined : conversions[kind];
  if (!found) return undefined;
  const refuse = (issues: readonly Issue[]) => {
    const name = nameIn(document);
    const facts = { issues, ...(origin && { origin }), ...(name && { name }) };
    return new ApiError({ code: "invalid", kind: kind?.split(" ")[1] ?? "", ...facts });
  };
  const { value, unknown } = validate(found.schema, withoutNulls(document) as object, refuse);
  const { resource } = parse(found.convert(value), origin);
  const size = JSON.stringify(resource).length;
  const tooLarge = `becomes ${size} characters of rules; the datastore takes ${LARGEST}: make several policies of it`;
  if (size > LARGEST) throw refuse([{ path: "spec", message: tooLarge }]);
  return { resource, warnings: unknown.map((path) => `${path}: unknown field, ignored`) };
}

/** "networking.k8s.io/v1 NetworkPolicy", if the document says such a thing. */
function kindIn(document: unknown): string | undefined {
  const { apiVersion, kind } = (document ?? {}) as { apiVersion?: unknown; kind?: unknown };
  return typeof apiVersion === "string" && typeof kind === "string" ? `${apiVersion} ${kind}` : undefined;
}
