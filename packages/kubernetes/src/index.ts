export { type Access, accessTo, inCluster, isInCluster } from "./access.ts";
export { type ApiServer, apiServer, type Call } from "./api-server.ts";
export { KubernetesError, type KubernetesErrorCode } from "./errors.ts";
export { kubeconfigAccess } from "./kubeconfig.ts";
export { Leader, type LeaderOptions } from "./leader.ts";
export { type Change, ListWatch, type ListWatchOptions, type WatchStatus } from "./list-watch.ts";
export { type KubernetesObject, nameOf, type ObjectMeta, podUID } from "./objects.ts";
export { type Fault, type MemoryApiServer, memoryApiServer } from "./testing/memory-api-server.ts";
