export { Bucketed } from "./bucketed.ts";
export { Edited } from "./edited.ts";
export * from "./loop.ts";
export { PartedSet, partsOfSet, sameMembers, setDifference } from "./parted-set.ts";
export { changedKeys, oncePer, Parts, partsOf } from "./parts.ts";
export * from "./reconciler.ts";
export { placeIn } from "./sorted.ts";
export * from "./target.ts";
