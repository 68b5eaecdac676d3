import type { FelixSettings } from "@margay/api";
import type { Prefix } from "@margay/net";
import type {
  CompiledPolicy,
  Host,
  LocalEndpoint,
  LocalHostEndpoint,
  NeutralSet,
  Pool,
  Problem,
  Resolvers,
} from "./model.ts";

/** All that one node must enforce and reach for its own endpoints. A part that did not change is the same object. */
export interface NodeState {
  readonly node: string;
  /** By id. */
  readonly endpoints: readonly LocalEndpoint[];
  /** By id; one for each interface at most. */
  readonly hostEndpoints: readonly LocalHostEndpoint[];
  readonly policies: ReadonlyMap<string, CompiledPolicy>;
  readonly profiles: ReadonlyMap<string, CompiledPolicy>;
  readonly sets: ReadonlyMap<string, NeutralSet>;
  /** Absent where no rule here names a domain. */
  readonly resolvers?: Resolvers | undefined;
  /** All pools of the cluster, for NAT. */
  readonly pools: readonly Pool[];
  /** Blocks that are this node's for certain: what is not a pod's in them goes nowhere. */
  readonly blocks: readonly Prefix[];
  readonly hosts: readonly Host[];
  /** Ranges of service addresses that are announced: what nobody translates must not be forwarded. */
  readonly services: readonly Prefix[];
  readonly config: FelixSettings;
  /** What could not be resolved and is closed, or ignored, for that reason. */
  readonly problems: readonly Problem[];
}
