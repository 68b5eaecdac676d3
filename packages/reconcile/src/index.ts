export { Edited } from "./edited.ts";
export * from "./loop.ts";
export { Parts } from "./parts.ts";
export * from "./reconciler.ts";
export * from "./target.ts";
