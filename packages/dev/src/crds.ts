import { API_VERSION, definitions, type Kind, specSchema } from "@margay/api";
import { stringify } from "yaml";

const NOTE = "# Made by `npm run generate` from packages/api. Do not edit.\n";

/** The CustomResourceDefinition of a kind, as YAML. */
export function crd(kind: Kind): string {
  const { plural, singular, aliases, scope, description } = definitions[kind];
  const [group = "", version = ""] = API_VERSION.split("/");
  const shortNames = aliases.filter((alias) => !aliases.some((other) => alias === `${other}s`));
  const document = {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      names: {
        kind,
        listKind: `${kind}List`,
        plural,
        singular,
        ...(shortNames.length > 0 && { shortNames }),
      },
      scope: scope === "cluster" ? "Cluster" : "Namespaced",
      versions: [
        { name: version, served: true, storage: true, schema: { openAPIV3Schema: whole(kind, description) } },
      ],
    },
  };
  return NOTE + stringify(document, { lineWidth: 120, aliasDuplicateObjects: false });
}

const whole = (kind: Kind, description: string) => ({
  type: "object",
  description,
  properties: {
    apiVersion: { type: "string" },
    kind: { type: "string" },
    metadata: { type: "object" },
    spec: specSchema(kind),
    status: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
  },
});
