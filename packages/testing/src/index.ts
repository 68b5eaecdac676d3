export { scratch } from "./scratch.ts";
export { noLinks, noNamespaces, noRoutes, noRules, noSets, undone } from "./undone.ts";
export { unshared, unsharedWithUsers } from "./unshared.ts";
export { until } from "./until.ts";
export { waitedMs } from "./waited.ts";
