export { scratch } from "./scratch.ts";
export { unshared, unsharedWithUsers } from "./unshared.ts";
