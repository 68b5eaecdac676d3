import type { DaemonOptions } from "@margay/daemon";
import type { NftablesMode } from "./rulesets/choose.ts";

/** What `margay agent` is started with. */
export interface AgentOptions extends DaemonOptions {
  /** Both or neither: where to install the CNI configuration and plugins. */
  readonly cniConfDir?: string | undefined;
  readonly cniBinDir?: string | undefined;
  /** Instead of FelixConfiguration's nftablesMode. */
  readonly nftablesMode?: NftablesMode | undefined;
}
