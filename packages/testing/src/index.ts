export { scratch } from "./scratch.ts";
export { unshared, unsharedWithUsers } from "./unshared.ts";
export { until } from "./until.ts";
