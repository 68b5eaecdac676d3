import type { NodeState } from "@margay/calc";
import { formatAddress, formatPrefix } from "@margay/net";
import { formatRoute, listRoutes, type Netlink, type NetlinkError } from "@margay/netlink";
import type { Addresses } from "./dns/learnt.ts";
import type { Kernel } from "./kernel.ts";
import { ROUTE_PROTOCOL } from "./wanted.ts";

/** What the control socket shows: the agent's state as plain JSON, for people and the CLI. */
export function showState(state: NodeState, facts: object): object {
  const { node, endpoints, policies, profiles, sets, pools, blocks, problems } = state;
  return {
    node,
    ...facts,
    endpoints: endpoints.length,
    closedEndpoints: endpoints.filter(({ ok }) => !ok).length,
    policies: policies.size,
    profiles: profiles.size,
    sets: sets.size,
    pools: pools.map(({ name, cidr, natOutgoing }) => ({ name, cidr: formatPrefix(cidr), natOutgoing })),
    blocks: blocks.map(formatPrefix),
    problems,
  };
}

export const showEndpoints = ({ endpoints, config }: NodeState, missing: Kernel["missing"]): object[] =>
  endpoints.map((endpoint) => ({
    id: endpoint.id,
    interface: endpoint.interfaceName,
    addresses: endpoint.addresses.map(formatAddress),
    ...(endpoint.floating && {
      floating: endpoint.floating.map(({ external }) => formatAddress(external)),
    }),
    profiles: endpoint.profiles,
    ingress: endpoint.ingress,
    egress: endpoint.egress,
    ok: endpoint.ok,
    waitingFor: missing(endpoint, config),
  }));

/** What the kernel has of ours now, and what it did not take. */
export async function showRoutes(
  netlink: Netlink,
  refused: ReadonlyMap<string, NetlinkError>,
): Promise<object> {
  const routes = await listRoutes(netlink, { protocol: ROUTE_PROTOCOL });
  return {
    routes: routes.map(formatRoute),
    refused: [...refused].map(([dst, error]) => ({ dst, why: error.message })),
  };
}

/** What DNS answers told: by domain its addresses, with the seconds that each is good for yet. */
export const showDomains = (all: ReadonlyMap<string, Addresses>, now: number): object[] =>
  [...all].sort().map(([domain, its]) => ({
    domain,
    addresses: [...its].map(([address, until]) => ({
      ...{ address, seconds: Math.max(0, Math.round((until - now) / 1000)) },
    })),
  }));
