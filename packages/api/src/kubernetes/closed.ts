import type { AnyResource } from "../definitions.ts";
import { ApiError } from "../errors.ts";
import { parse, withoutNulls } from "../parse.ts";
import {
  adminNetworkPolicyByRule,
  adminPolicyName,
  baselineAdminNetworkPolicyByRule,
  baselinePolicyName,
  closedAdminNetworkPolicy,
  closedBaselineAdminNetworkPolicy,
} from "./admin-network-policy.ts";
import {
  closedClusterNetworkPolicy,
  clusterNetworkPolicyByRule,
  clusterPolicyName,
} from "./cluster-network-policy.ts";
import { closedNetworkPolicy, networkPolicyName } from "./network-policy.ts";
import type { RefusedObject } from "./refused.ts";

type Given = Pick<RefusedObject, "metadata"> & { readonly spec?: unknown };

/** What stands for a policy of Kubernetes that cannot be enforced as written. */
export interface ClosedPolicy {
  /** Of the resource, closed or not. */
  readonly name: (object: Given) => string;
  /** Closes the pods that it selects for what would be left to it; if these cannot be read, all that it could select. */
  readonly close: (object: Given) => AnyResource;
  /** With those of its rules closed that name peers of a later version; undefined if that is not all that is wrong with it. */
  readonly closeByRule?: (object: Given) => AnyResource | undefined;
}

const read = ({ metadata, spec }: Given): RefusedObject => {
  const fields = withoutNulls(spec);
  return { metadata, spec: typeof fields === "object" && fields !== null ? { ...fields } : {} };
};

const readable = (document: object | undefined): AnyResource | undefined => {
  try {
    return document && parse(document).resource;
  } catch (error) {
    if (error instanceof ApiError) return undefined;
    throw error;
  }
};

/** By kind. */
export const closedPolicies: Readonly<
  Record<
    "NetworkPolicy" | "ClusterNetworkPolicy" | "AdminNetworkPolicy" | "BaselineAdminNetworkPolicy",
    ClosedPolicy
  >
> = {
  NetworkPolicy: {
    name: ({ metadata }) => networkPolicyName(metadata.name),
    close: (object) => parse(closedNetworkPolicy(read(object))).resource,
  },
  AdminNetworkPolicy: {
    name: ({ metadata }) => adminPolicyName(metadata.name),
    close: (object) => parse(closedAdminNetworkPolicy(read(object))).resource,
    closeByRule: (object) => readable(adminNetworkPolicyByRule(read(object))),
  },
  BaselineAdminNetworkPolicy: {
    name: ({ metadata }) => baselinePolicyName(metadata.name),
    close: (object) => parse(closedBaselineAdminNetworkPolicy(read(object))).resource,
    closeByRule: (object) => readable(baselineAdminNetworkPolicyByRule(read(object))),
  },
  ClusterNetworkPolicy: {
    name: (object) => clusterPolicyName(object.metadata.name, read(object).spec.tier),
    close: (object) => parse(closedClusterNetworkPolicy(read(object))).resource,
    closeByRule: (object) => readable(clusterNetworkPolicyByRule(read(object))),
  },
};
