import type { ExplainStep, Explanation } from "./explanation.ts";
import type { Packet } from "./match.ts";
import type { Place } from "./place.ts";
import type { ruleOrigins } from "./rule-origins.ts";
import type { NodeState } from "./state.ts";
import type { Survey } from "./survey.ts";

export type Outcome = Pick<Explanation, "verdict" | "because" | "decidedBy">;

/** The packet on its way: each stage adds its steps; the first with an outcome is the last. */
export interface Journey {
  readonly survey: Survey;
  readonly origins: ReturnType<typeof ruleOrigins>;
  readonly stateOf: (node: string) => NodeState;
  readonly source: Place;
  readonly destination: Place;
  /** Its ends change by NAT. */
  packet: Packet;
  /** What came in on the receiver's node, where the destination is translated there: host endpoints see it before, too. */
  original?: Packet;
  /** Nodes whose host endpoints let it through before connection tracking: its answers are nobody's. */
  readonly untracked: Set<string>;
  readonly steps: ExplainStep[];
  /** As if staged policies were enforced. */
  readonly staged: boolean;
}

/** Between a place and itself nothing of ours is on the way; but by way of a Service or floating address a packet comes back. */
export function stay({
  source,
  destination,
  steps,
}: Pick<Journey, "source" | "destination" | "steps">): Outcome | undefined {
  if (steps.length > 0) return undefined;
  if (source.kind === "pod" && destination.kind === "pod" && source.id === destination.id)
    return { verdict: "allowed", because: `the packet does not leave ${source.name}` };
  if (source.kind === "host" && destination.kind === "host" && source.node === destination.node)
    return { verdict: "allowed", because: `the packet does not leave node ${source.node}` };
  return undefined;
}
