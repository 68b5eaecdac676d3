import type { LocalEndpoint, NodeState } from "@margay/calc";
import type { Chain, Rule } from "@margay/iptables";
import { formatPrefix } from "@margay/net";
import { formatRoute, listRoutes, type Netlink, NetlinkError, readSysctl, sameRoute } from "@margay/netlink";
import { chains } from "./render/names.ts";
import { ROUTE_PROTOCOL, Wanted } from "./wanted.ts";

/**
 * The chains that one workload's packets pass, in either direction: those that lead to its own, its own, and all that
 * these call. Pure; keys are those of @margay/iptables. `group`: of its interface, where that dispatches it.
 */
export function chainsOf(
  { interfaceName }: LocalEndpoint,
  rendered: ReadonlyMap<string, Chain>,
  group?: number,
): ReadonlyMap<string, Chain> {
  const own = [
    ...[chains.from(interfaceName), chains.to(interfaceName)],
    ...(group === undefined ? [] : [chains.fromCohort, chains.toCohort]),
  ];
  const called = ({ rules }: Chain) => rules.flatMap(({ target }) => target.slice(1, 2)); // -j or -g, then whom
  const isIts = ({ match: [, name, , number] }: Rule) =>
    name === interfaceName || (name === "devgroup" && number === String(group));
  const leading = [...rendered].filter(
    ([, chain]) => chain.rules.some(isIts) || called(chain).some((name) => own.includes(name)),
  );
  const found = new Map(leading);
  const decided = leading.flatMap(([, { rules }]) => called({ rules: rules.filter(isIts) }));
  const follow = (name: string): void => {
    const key = `filter/${name}`;
    const chain = rendered.get(key);
    if (!chain || found.has(key)) return;
    found.set(key, chain);
    for (const next of called(chain)) follow(next);
  };
  for (const name of [...own, ...decided]) follow(name);
  return found;
}

/** Routes and settings of one workload that the kernel does not have, read from the kernel. */
export async function auditNetwork(
  netlink: Netlink,
  endpoint: LocalEndpoint,
  state: NodeState,
): Promise<string[]> {
  const alone = { ...state, endpoints: [endpoint], blocks: [] };
  const routes = await listRoutes(netlink, { protocol: ROUTE_PROTOCOL });
  const there = new Map(routes.map((route) => [formatPrefix(route.dst), route]));
  const wanted = new Wanted().update(alone, () => true);
  const lost = [...wanted.routes].filter(([dst, route]) => {
    const found = there.get(dst);
    return !found || !sameRoute(found, route);
  });
  const settings = [...wanted.settings.values()]
    .flatMap((its) => [...its])
    .filter(([name, value]) => settingOf(name) !== value);
  return [
    ...lost.map(([, route]) => `route ${formatRoute(route)} on the node: gone`),
    ...settings.map(
      ([name, value]) => `setting ${name} on the node: ${settingOf(name) ?? "gone"}, not ${value}`,
    ),
  ];
}

function settingOf(name: string): string | undefined {
  try {
    return readSysctl(name);
  } catch (error) {
    if (error instanceof NetlinkError && error.code === "ENOENT") return undefined; // its interface is gone
    throw error;
  }
}
