import { type LocalEndpoint, type NodeState, ruleIds } from "@margay/calc";
import { oncePer } from "@margay/reconcile";

/** What the settings ask for and can be done without, or otherwise: all else of the node is enforced then. */
export interface Feature {
  /** For people: of the problem. */
  readonly subject: string;
  /** What is so without it. */
  readonly says: string;
  /** The parts of a state that are others without it: the same objects for the same. */
  readonly without: (state: NodeState) => Partial<NodeState>;
}

type Settings = NodeState["config"];

/** Values that nothing can be against, and that open nothing. */
const HARMLESS: Partial<Settings> = {
  ...{ logPrefix: "calico-packet", logActionRateLimit: "10/second", logActionRateLimitBurst: 5 },
  ...{ iptablesFilterDenyAction: "Drop", defaultEndpointToHostAction: "Drop" },
  ...{ serviceLoopPrevention: "Drop", natPortRange: undefined, natOutgoingAddress: undefined },
};

/** Fields of rules whose last good value is as well kept, and that have no other that would do. */
const KEPT = ["natOutgoingInterfaceFilter", "vxlanPort", "iptablesMarkMask"] as const;

const untranslated = oncePer((pools: NodeState["pools"]) =>
  pools.map((pool) => ({ ...pool, natOutgoing: false })),
);
const grounded = oncePer(({ floating, ...endpoint }: LocalEndpoint): LocalEndpoint => endpoint);
const allGrounded = oncePer((endpoints: NodeState["endpoints"]) => endpoints.map(grounded));

/** Each as little as can be; `good`: settings that the packet filter took, of which a value that is none is not kept. */
export function featuresOf({ config }: NodeState, good: Settings | undefined): readonly Feature[] {
  return [
    ...[...(Object.keys(HARMLESS) as (keyof Settings)[]), ...KEPT].flatMap((field) =>
      [good?.[field], HARMLESS[field]].flatMap((value, i) =>
        value === config[field] || (value === undefined && (i === 0 || !(field in HARMLESS)))
          ? []
          : [instead(field, value)],
      ),
    ),
    off("workloadRPF", "Disabled", "sources are not checked against the way back to them"),
    off("cutDeniedConnections", false, "connections that policy no longer allows go on"),
    off("serviceLoopPrevention", "Disabled", "packets to a service's address that nobody has are forwarded"),
    ...failsafes(config),
    {
      ...{ subject: "domains", says: "DNS answers are not seen" },
      without: () => ({ resolvers: undefined }),
    },
    {
      ...{ subject: "natOutgoing", says: "what leaves the pools keeps its source address" },
      without: ({ pools }) => ({ pools: untranslated(pools) }),
    },
    {
      ...{ subject: "floating addresses", says: "nothing is translated to or from them" },
      without: ({ endpoints }) => ({ endpoints: allGrounded(endpoints) }),
    },
  ];
}

const instead = (field: keyof Settings, value: unknown): Feature => ({
  ...{ subject: `FelixConfiguration.${field}`, says: `${value ?? "nothing"} is in force instead` },
  without: changing(field, value),
});

const off = <F extends keyof Settings>(field: F, value: Settings[F], says: string): Feature => ({
  ...{ subject: `FelixConfiguration.${field}`, says },
  without: changing(field, value),
});

/** The same settings for the same. */
function changing(field: keyof Settings, value: unknown): Feature["without"] {
  const changed = oncePer((config: Settings) => ({ ...config, [field]: value }));
  return ({ config }) => ({ config: changed(config) });
}

/** Each port: without all of them nobody could mend the settings. */
const failsafes = (config: Settings): readonly Feature[] =>
  (
    [
      ["failsafeInboundHostPorts", "ingress"],
      ["failsafeOutboundHostPorts", "egress"],
    ] as const
  ).flatMap(([key, direction]) =>
    config[key].map((port): Feature => {
      const changed = oncePer((settings: Settings) => ({
        ...settings,
        [key]: settings[key].filter((one) => one !== port),
      }));
      return {
        subject: ruleIds.failsafe(direction, port.protocol, port.port),
        says: "host endpoints do not leave that port open",
        without: (state) => ({ config: changed(state.config) }),
      };
    }),
  );
