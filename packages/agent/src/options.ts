import type { Feature, OtherIpam } from "@margay/cni";
import type { DaemonOptions } from "@margay/daemon";
import type { NftablesMode } from "./rulesets/choose.ts";

/** What `margay agent` is started with. */
export interface AgentOptions extends DaemonOptions {
  /** Both or neither: where to install the CNI configuration and plugins. */
  readonly cniConfDir?: string | undefined;
  readonly cniBinDir?: string | undefined;
  /** Annotations that the installed configuration lets pods use. */
  readonly cniFeature?: readonly Feature[] | undefined;
  /** Who gives addresses instead of Margay, in the installed configuration. */
  readonly cniIpam?: OtherIpam | undefined;
  /** Instead of FelixConfiguration's nftablesMode. */
  readonly nftablesMode?: NftablesMode | undefined;
  /** How to reach the API server; in a pod its service account, if it has one. */
  readonly kubeconfig?: string | undefined;
  /** How the node's own address is found, for each family. */
  readonly ipAutodetectionMethod?: string | undefined;
  readonly ip6AutodetectionMethod?: string | undefined;
}
