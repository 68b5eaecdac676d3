import type { Family } from "@margay/net";
import type { Leg } from "./leg.ts";
import type { Packet } from "./match.ts";
import type { Direction, Problem } from "./model.ts";
import type { Place } from "./place.ts";
import type { Step } from "./verdict.ts";

/** What the first packet of a flow is, but for its addresses. */
export interface Question extends Omit<Packet, "source" | "destination"> {
  readonly source: Place;
  readonly destination: Place;
  /** IPv4 if both ends have it, unless said. */
  readonly family?: Family;
}

/** One thing that happens to the packet, in order. `text` says it to people. */
export type ExplainStep =
  | (Omit<Step, "endpoint"> & {
      readonly kind: "policy";
      readonly node: string;
      readonly direction: Direction;
      readonly endpoint: string;
      /** The datastore revision of the policy or profile. */
      readonly revision?: string;
      /** The file and line that the rule, or its policy, was applied from: `db.yaml:18`. */
      readonly location?: string;
      /** By a policy of a host endpoint: `endpoint` is its id. */
      readonly host?: true;
      /** The place of the rule among the policy's rules of that direction; 0 is the first. */
      readonly index?: number;
      readonly text: string;
    })
  | {
      readonly kind: "host";
      readonly node: string;
      readonly rule: string;
      readonly action: "allow" | "deny";
      readonly text: string;
    }
  | {
      readonly kind: "route";
      readonly node: string;
      readonly route: Leg["kind"];
      readonly block?: string;
      readonly toNode?: string;
      readonly way?: string;
      readonly daemon?: string;
      readonly text: string;
    }
  | {
      readonly kind: "nat";
      readonly node: string;
      readonly source?: string;
      readonly destination?: string;
      readonly rule?: string;
      readonly text: string;
    }
  | { readonly kind: "answer"; readonly rule: string; readonly text: string };

export interface Explanation {
  readonly source: EndView;
  readonly destination: EndView;
  readonly protocol: number;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly icmp?: { readonly type: number; readonly code: number };
  readonly steps: readonly ExplainStep[];
  /** `unreachable`: nobody has the address; `unknown`: it depends on what the datastore does not say. */
  readonly verdict: "allowed" | "denied" | "unreachable" | "unknown";
  /** Why, in one sentence that names what decided. */
  readonly because: string;
  /** The step that decided; absent when nothing of ours has a say. */
  readonly decidedBy?: ExplainStep;
  /** Of a packet for a Service: what comes of it at each of those behind it. `steps` are those of the first that is not allowed. */
  readonly backends?: readonly Backend[];
  /** What it would be if staged policies were enforced; absent where none is on the way. */
  readonly staged?: Pick<Explanation, "verdict" | "because" | "decidedBy">;
  /** What could not be resolved of the endpoints and policies on the way, and is closed for that reason. */
  readonly problems: readonly Problem[];
}

/** What is told of one packet. */
export type Told = Omit<Explanation, "problems">;

export interface Backend extends Pick<Explanation, "verdict" | "because" | "decidedBy"> {
  readonly name: string;
  /** `10.0.1.8:8080`. */
  readonly address: string;
}

export interface EndView {
  readonly kind: Place["kind"];
  readonly name: string;
  readonly node?: string;
  readonly address: string;
}

export type PolicyStep = Extract<ExplainStep, { kind: "policy" }>;
