import { API_VERSION, definitions, type Kind, specSchema } from "@margay/api";
import { stringify } from "yaml";

const NOTE = "# Made by `npm run generate` from packages/api. Do not edit.\n";

/** Columns of `kubectl get`: title and field of the spec. */
const COLUMNS: Partial<Record<Kind, readonly (readonly [string, string])[]>> = {
  IPPool: [
    ["CIDR", "cidr"],
    ["Selector", "nodeSelector"],
    ["NAT", "natOutgoing"],
  ],
  IPReservation: [["CIDRs", "reservedCIDRs"]],
  BGPConfiguration: [
    ["AS", "asNumber"],
    ["Mesh", "nodeToNodeMeshEnabled"],
  ],
  BGPPeer: [
    ["Peer", "peerIP"],
    ["AS", "asNumber"],
    ["Nodes", "nodeSelector"],
    ["Peers", "peerSelector"],
  ],
  NetworkPolicy: [
    ["Tier", "tier"],
    ["Order", "order"],
    ["Selector", "selector"],
  ],
  GlobalNetworkPolicy: [
    ["Tier", "tier"],
    ["Order", "order"],
    ["Selector", "selector"],
  ],
  Tier: [["Order", "order"]],
};

const column = ([name, field]: readonly [string, string]) => ({
  ...{ name, type: "string", jsonPath: `.spec.${field}` },
});
/** The controllers' word (packages/controllers/src/status.ts). */
const ACCEPTED = {
  ...{ name: "Accepted", type: "string" },
  jsonPath: '.status.conditions[?(@.type=="Accepted")].status',
};
const AGE = { name: "Age", type: "date", jsonPath: ".metadata.creationTimestamp" };

interface Validation {
  readonly rule: string;
  readonly message: string;
}

/** What no schema of one object can say. */
const OVER_TIME: Partial<Record<Kind, readonly Validation[]>> = {
  IPPool: [
    { rule: "self.cidr == oldSelf.cidr", message: "cidr may not change: make another pool" },
    {
      rule: "has(self.blockSize) == has(oldSelf.blockSize) && (!has(self.blockSize) || self.blockSize == oldSelf.blockSize)",
      message: "blockSize may not change: make another pool",
    },
  ],
};

/** In CEL: the API server refuses it before anybody else sees it. */
function validations(kind: Kind): { "x-kubernetes-validations"?: readonly Validation[] } {
  const between = (definitions[kind].between ?? []).map(({ path, message, must }) => ({
    ...{ rule: must.cel, message: path ? `${path} ${message}` : message },
  }));
  const all = [...(OVER_TIME[kind] ?? []), ...between];
  return all.length > 0 ? { "x-kubernetes-validations": all } : {};
}

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
        {
          ...{ name: version, served: true, storage: true },
          schema: { openAPIV3Schema: whole(kind, description) },
          subresources: { status: {} },
          additionalPrinterColumns: [...(COLUMNS[kind] ?? []).map(column), ACCEPTED, AGE],
        },
      ],
    },
  };
  // Kubernetes and Helm read YAML 1.1, where the short name of nodes is false
  return NOTE + stringify(document, { lineWidth: 120, aliasDuplicateObjects: false, version: "1.1" });
}

const whole = (kind: Kind, description: string) => ({
  type: "object",
  description,
  properties: {
    apiVersion: { type: "string" },
    kind: { type: "string" },
    metadata: { type: "object" },
    spec: {
      ...specSchema(kind),
      ...validations(kind),
    },
    status: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
  },
});
