export * from "./loop.ts";
export * from "./reconciler.ts";
export * from "./target.ts";
