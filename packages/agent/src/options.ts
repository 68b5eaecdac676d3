import type { DaemonOptions } from "@margay/daemon";

/** What `margay agent` is started with. */
export interface AgentOptions extends DaemonOptions {
  /** Both or neither: where to install the CNI configuration and plugins. */
  readonly cniConfDir?: string | undefined;
  readonly cniBinDir?: string | undefined;
}
