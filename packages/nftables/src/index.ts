export { type Base, type Chain, type Item, itemKey, type NftMap, type NftSet, parseKey } from "./item.ts";
export { Nftables, type NftablesOptions } from "./nftables.ts";
export type { Counter } from "./read.ts";
export {
  type Action,
  type CtState,
  commentId,
  type Field,
  type Match,
  type Ports,
  type Rule,
  ruleHash,
} from "./statement.ts";
export { type RuleChange, type RuleWatchOptions, watchRules } from "./watch.ts";
