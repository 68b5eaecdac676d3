export { Compilers, compileInIdleTime } from "./background.ts";
export { collectGarbage } from "./collect.ts";
export { connectionTeller } from "./connection.ts";
export {
  type Control,
  ControlError,
  type ControlHandler,
  controlGet,
  controlPost,
  type Query,
} from "./control.ts";
export type { OtherFile } from "./flag-sources.ts";
export { type DaemonOptions, daemonFlags, type StoreOptions, storeFlags } from "./flags.ts";
export type { Health } from "./health.ts";
export { NewSpaceBound, settleNewSpace } from "./new-space.ts";
export { openStore } from "./open-store.ts";
export { type Daemon, type DaemonContext, runDaemon } from "./run-daemon.ts";
export { Troubles } from "./troubles.ts";
