export { type Backend, detectBackend } from "./backend.ts";
export { IptablesError, type IptablesErrorCode, type IptablesErrorFacts } from "./error.ts";
export { Iptables, type IptablesOptions } from "./iptables.ts";
export { isOfKubernetes, othersRefusing } from "./refusing.ts";
export { type Chain, type Counter, type Hook, hasLine, type Rule, shownId } from "./rule.ts";
export type { IpSet } from "./set.ts";
export { type IpsetOptions, ipsetTarget } from "./set-target.ts";
export { isOurTool } from "./tool.ts";
