export * from "./rule.ts";
export * from "./set.ts";
