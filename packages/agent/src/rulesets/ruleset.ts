import type { LocalEndpoint, NodeState } from "@margay/calc";
import type { Counter } from "@margay/iptables";
import type { RuleChange } from "@margay/nftables";
import type { Work } from "@margay/reconcile";
import type { Cohorts } from "../render/cohort.ts";
import type { Refusal } from "./refusal.ts";

export type RulesetKind = "nftables" | "iptables-nft" | "iptables-legacy";

/** Our rules and sets in one of the kernel's packet filters. */
export interface Ruleset {
  readonly kind: RulesetKind;
  /** What makes them enforce this state, in the order of dependency; with cohorts where they can dispatch by groups of interfaces. */
  works(state: NodeState, cohorts?: Cohorts): readonly Work[];
  /** Whether this state asks for what was refused. Writes nothing; throws what keeps its rules from being made. */
  asks(state: NodeState, refusal: Refusal | undefined, cohorts?: Cohorts): boolean;
  /** All of that is in the kernel. */
  settled(): void;
  /** What takes them away, but for what the one that follows has in common with this one. */
  nothing(next: RulesetKind): readonly Work[];
  /** The next pass reads them again. */
  distrust(what: "rules" | "sets"): void;
  /** Packets and bytes by rule id, of both families. Reads all rules. */
  counters(): Promise<ReadonlyMap<string, Counter>>;
  /** Which of the chains of one workload the kernel has otherwise or not at all; read anew, whatever is believed. */
  differing(endpoint: LocalEndpoint, state: NodeState, cohorts: Cohorts): Promise<readonly string[]>;
  /** Whether somebody else's change may have touched what is ours, or what we hook into. */
  concerns(change: RuleChange): boolean;
  /** Sets of which the kernel tells nobody that they change, and which have by now more members than we gave them, or fewer. */
  changedSets(): Promise<readonly string[]>;
  /** Lets go; what was written stays. */
  close(): Promise<void>;
}

/** Names what had to be written again, since somebody else had removed or changed it. */
export type OnRepaired = (what: readonly string[]) => void;
