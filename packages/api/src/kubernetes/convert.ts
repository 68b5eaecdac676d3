import type { z } from "zod";
import { ApiError } from "../errors.ts";
import { type Parsed, parse, validate, withoutNulls } from "../parse.ts";
import { kubernetesNamespace, profileFrom } from "./namespace.ts";
import { kubernetesNetworkPolicy, networkPolicyFrom } from "./network-policy.ts";

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
  "networking.k8s.io/v1 NetworkPolicy": conversion(kubernetesNetworkPolicy, networkPolicyFrom),
};

/** Kubernetes kinds that `parseKubernetes` converts, as "apiVersion kind". */
export const kubernetesKinds: readonly string[] = Object.keys(conversions);

/** Validates a Kubernetes object and converts it; undefined when it is of no kind that can be. Throws ApiError `invalid`. */
export function parseKubernetes(document: unknown, origin?: string): Parsed | undefined {
  const { apiVersion, kind, metadata } = (document ?? {}) as {
    apiVersion?: unknown;
    kind?: unknown;
    metadata?: { name?: unknown };
  };
  const name = `${String(apiVersion)} ${String(kind)}`;
  const found = Object.hasOwn(conversions, name) ? conversions[name] : undefined;
  if (!found) return undefined;
  const { value, unknown } = validate(
    found.schema,
    withoutNulls(document) as object,
    (issues) =>
      new ApiError({
        code: "invalid",
        kind: String(kind),
        name: String(metadata?.name ?? ""),
        issues,
        ...(origin && { origin }),
      }),
  );
  const { resource } = parse(found.convert(value), origin);
  return { resource, warnings: unknown.map((path) => `${path}: unknown field, ignored`) };
}
