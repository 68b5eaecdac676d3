export * from "./policy/as-path-pattern.ts";
export * from "./policy/community.ts";
export * from "./policy/export.ts";
export { type Told, wireExporter } from "./policy/export-bytes.ts";
export * from "./policy/filter.ts";
export * from "./policy/import.ts";
export { linkBandwidth } from "./policy/link-bandwidth.ts";
export * from "./policy/long-lived.ts";
export {
  applyPolicy,
  type Change as PolicyChange,
  type Judged,
  type Match,
  type Policy,
  type PrefixRange,
  policyWithoutOne,
  type Statement,
  type Verdict,
} from "./policy/policy.ts";
export * from "./policy/prefix-limit.ts";
export * from "./policy/role.ts";
export { Recent } from "./recent.ts";
export * from "./rib/changes.ts";
export * from "./rib/decision.ts";
export * from "./rib/path.ts";
export { PrefixTable } from "./rib/prefix-table.ts";
export * from "./rib/rib.ts";
export type { Counts } from "./rib/route-numbers.ts";
export { LearnedRoute, RouteStore } from "./rib/route-store.ts";
export * from "./rib/update-group.ts";
export * from "./session/collision.ts";
export * from "./session/fsm.ts";
export * from "./session/negotiate.ts";
export * from "./session/restart.ts";
export * from "./session/session.ts";
export * from "./wire/as-path.ts";
export {
  type Problem,
  type ReadAttributes,
  readAttributes,
  splitAttributes,
  writeAttributes,
} from "./wire/attribute-codec.ts";
export { AttributeList } from "./wire/attribute-list.ts";
export { type AttributeContext, type AttributeRow, attributeTable } from "./wire/attribute-table.ts";
export * from "./wire/attributes.ts";
export {
  type AddPath,
  type Capabilities,
  type GracefulRestart,
  type LongLived,
  type Role,
  roles,
} from "./wire/capabilities.ts";
export * from "./wire/code-points.ts";
export * from "./wire/error.ts";
export * from "./wire/framer.ts";
export * from "./wire/message.ts";
export * from "./wire/nlri.ts";
export * from "./wire/notification.ts";
export type { Open } from "./wire/open.ts";
export * from "./wire/update.ts";
export * from "./wire/write-update.ts";
