export { add } from "./add.ts";
export { AttachError, type Attached, attach, commands, detach, type Workload } from "./attach.ts";
export { command } from "./command.ts";
export type { Configuration } from "./configuration.ts";
export { del } from "./del.ts";
export type { CniDeps, HeldHere, Wiring } from "./deps.ts";
export { CNI_CODES, type CniCode, CniError } from "./errors.ts";
export { followMtu } from "./follow-mtu.ts";
export type { Call, Reply } from "./frame.ts";
export { cniHandler, type Served } from "./handler.ts";
export { inspect, owned, ownerOf } from "./inspect.ts";
export {
  conflist,
  FEATURES,
  type Feature,
  type InstallOptions,
  install,
  installed,
  installPaths,
  type OtherIpam,
  parseIpam,
  uninstall,
} from "./install.ts";
export { type Invocation, parseCall } from "./invocation.ts";
export { spoolOf } from "./keep.ts";
export { ownerOfAlias } from "./owner.ts";
export { type Pod, podOf } from "./pod.ts";
export { relay } from "./relay.ts";
export { GATEWAY } from "./result.ts";
export { type CniServerOptions, serveCni } from "./server.ts";
export { Spool } from "./spool.ts";
export { unwirer } from "./unwirer.ts";
export { unwireInside } from "./wire.ts";
export { WiringThread } from "./wiring-thread.ts";
