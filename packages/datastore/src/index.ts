export * from "./barrier.ts";
export type { EtcdOptions } from "./etcd/client.ts";
export { etcdStore } from "./etcd/store.ts";
export * from "./memory-store.ts";
export * from "./resources.ts";
export * from "./store.ts";
export * from "./syncer.ts";
