import { type LocalEndpoint, type NodeState, ruleIds } from "@margay/calc";
import { oncePer } from "@margay/reconcile";
import { chains } from "./render/names.ts";

/** What the settings ask for in a chain that is nobody's, and can be done without: all else of the node is enforced then. */
export interface Feature {
  /** For people: of the problem. */
  readonly subject: string;
  /** What is so without it. */
  readonly says: string;
  /** The parts of a state that are others without it: the same objects for the same. */
  readonly without: (state: NodeState) => Partial<NodeState>;
}

const untranslated = oncePer((pools: NodeState["pools"]) =>
  pools.map((pool) => ({ ...pool, natOutgoing: false })),
);
const grounded = oncePer(({ floating, ...endpoint }: LocalEndpoint): LocalEndpoint => endpoint);
const allGrounded = oncePer((endpoints: NodeState["endpoints"]) => endpoints.map(grounded));

interface Place {
  readonly has: (chain: string) => boolean;
  readonly feature: Feature;
}

const PLACES: readonly Place[] = [
  {
    has: (chain) => chain === chains.dnsAnswers,
    feature: {
      ...{ subject: "domains", says: "DNS answers are not seen" },
      without: () => ({ resolvers: undefined }),
    },
  },
  {
    has: (chain) => chain === chains.natOutgoing,
    feature: {
      ...{ subject: "natOutgoing", says: "what leaves the pools keeps its source address" },
      without: ({ pools }) => ({ pools: untranslated(pools) }),
    },
  },
  {
    has: (chain) => chain.startsWith(chains.floating) || /^margay-f[tf]-/.test(chain),
    feature: {
      ...{ subject: "floating addresses", says: "nothing is translated to or from them" },
      without: ({ endpoints }) => ({ endpoints: allGrounded(endpoints) }),
    },
  },
];

/** What a refused rule was for; undefined where nothing can be done without it. `why` names the rule's id. */
export function featureOf(chain: string, why: string): Feature | undefined {
  if (chain.startsWith(chains.failsafe(""))) return failsafe(why);
  return PLACES.find(({ has }) => has(chain))?.feature;
}

/** One port: without all of them nobody could mend the settings. */
function failsafe(why: string): Feature | undefined {
  const [id] = /failsafe\/(in|out)\/\w+\/\d+/.exec(why) ?? [];
  if (id === undefined) return undefined;
  const [key, direction] = id.startsWith("failsafe/in/")
    ? (["failsafeInboundHostPorts", "ingress"] as const)
    : (["failsafeOutboundHostPorts", "egress"] as const);
  const without = oncePer((config: NodeState["config"]) => ({
    ...config,
    [key]: config[key].filter(({ protocol, port }) => ruleIds.failsafe(direction, protocol, port) !== id),
  }));
  return {
    ...{ subject: id, says: "host endpoints do not leave that port open" },
    without: ({ config }) => ({ config: without(config) }),
  };
}
