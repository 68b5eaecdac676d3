import { changedById, type LocalEndpoint, type NodeState } from "@margay/calc";
import { type Address, formatPrefix, hostPrefix, type Prefix, parseAddress, width } from "@margay/net";
import { type Route, sysctlName } from "@margay/netlink";
import { Edited } from "@margay/reconcile";

/** The agent's mark on its kernel routes. */
export const ROUTE_PROTOCOL = 142;

/** What can be programmed now depends on which interfaces are there. */
export type IsUp = (interfaceName: string) => boolean;

/** Why an endpoint's interface is not ours to touch: policy looks at interfaces of the configured prefixes only. */
export function notOurs({ interfaceName }: LocalEndpoint, config: NodeState["config"]): string | undefined {
  const prefixes = config.interfacePrefix.split(",");
  if (prefixes.some((prefix) => interfaceName.startsWith(prefix))) return undefined;
  return `interface ${interfaceName} does not begin with ${prefixes.join(" or ")} (FelixConfiguration.interfacePrefix)`;
}

/** Kernel settings by name. */
export type Settings = ReadonlyMap<string, string>;

interface Kept {
  readonly config: NodeState["config"];
  readonly isOurs: boolean;
  /** What its settings belong to. */
  readonly owner: string;
  readonly routes: ReadonlyMap<string, Route>;
  readonly settings: Settings;
}

const kept = new WeakMap<LocalEndpoint, Kept>();

/** What an interface's settings belong to. */
export const ownerOf = (interfaceName: string): string => `interface ${interfaceName}`;

/** The same objects for the same endpoint and configuration: nothing is made or compared for pods that did not change. */
function ofEndpoint(endpoint: LocalEndpoint, config: NodeState["config"]): Kept {
  const known = kept.get(endpoint);
  if (known?.config === config) return known;
  const routes = endpoint.addresses
    .filter(({ family }) => family === 4 || config.ipv6Support)
    .map((address) => workload(endpoint, address, config));
  const made = {
    config,
    isOurs: notOurs(endpoint, config) === undefined,
    owner: ownerOf(endpoint.interfaceName),
    routes: new Map(routes.map((route) => [formatPrefix(route.dst), route])),
    settings: settingsOf(endpoint, config),
  };
  kept.set(endpoint, made);
  return made;
}

/** What of an endpoint its interface's settings depend on. */
type Served = Pick<LocalEndpoint, "interfaceName" | "spoofable">;

/** What makes a workload's interface a gateway of one address. */
export const settingsOf = (endpoint: Served, config: NodeState["config"]): Settings =>
  new Map([
    ...interfaceSettings(endpoint, config),
    ...(config.ipv6Support ? interfaceSettings6(endpoint) : []),
  ]);

/** An endpoint's own routes, by destination, wherever its interface may be. */
export const routesOf = (endpoint: LocalEndpoint, config: NodeState["config"]): ReadonlyMap<string, Route> =>
  ofEndpoint(endpoint, config).routes;

/**
 * What a node wants of routes and settings, edited as endpoints and their interfaces come and go: those that stay are looked at,
 * and neither made nor compared again.
 *
 * - routes, by destination: `<pod>/32 dev cali...` for each address of an endpoint whose interface is up, and `blackhole <block>` for
 *   each own block, so that packets to addresses nobody has do not loop. A block of a single address needs none: its pod's
 *   route is the same one.
 * - settings, by what they belong to: forwarding of the "node", and for each workload's interface what makes it a gateway of one
 *   address. Nothing else global is touched.
 */
export class Wanted {
  readonly routes = new Edited<Route>();
  readonly settings = new Edited<Settings>();
  #blocks: NodeState["blocks"] | undefined;
  #config: NodeState["config"] | undefined;
  #endpoints: NodeState["endpoints"] = [];
  /** By interface; more than one may claim it. */
  readonly #claims = new Map<string, Set<LocalEndpoint>>();
  readonly #in = new Map<LocalEndpoint, Kept>();
  /** Two endpoints claim one address or interface: the later in order has it, however they came. */
  #isContested = false;

  /** `touched`: interfaces of which `isUp` may say another thing than the last time; all if absent. */
  update(state: NodeState, isUp: IsUp, touched?: ReadonlySet<string>): this {
    const isAnew = state.config !== this.#config || state.blocks !== this.#blocks || this.#isContested;
    if (isAnew) this.#anew(state);
    const { gone, came } = changedById(this.#endpoints, state.endpoints);
    this.#endpoints = state.endpoints;
    this.#claim(gone, came);
    const looked = touched && [...touched].flatMap((name) => [...(this.#claims.get(name) ?? [])]);
    const all = isAnew || !looked ? state.endpoints : new Set([...came, ...looked]);
    for (const one of gone) this.#drop(one);
    for (const one of all) if (!isUp(one.interfaceName)) this.#drop(one);
    for (const one of all) if (isUp(one.interfaceName)) this.#add(one, state.config);
    return this.#isContested && !isAnew ? this.update(state, isUp) : this;
  }

  #claim(gone: readonly LocalEndpoint[], came: readonly LocalEndpoint[]): void {
    for (const one of gone) {
      const claimants = this.#claims.get(one.interfaceName);
      claimants?.delete(one);
      if (claimants?.size === 0) this.#claims.delete(one.interfaceName);
    }
    for (const one of came) {
      const claimants = this.#claims.get(one.interfaceName) ?? new Set();
      this.#claims.set(one.interfaceName, claimants.add(one));
    }
  }

  /** Without any endpoint. */
  #anew({ blocks, config }: NodeState): void {
    [this.#blocks, this.#config, this.#isContested] = [blocks, config, false];
    this.#in.clear();
    this.routes.clear();
    this.settings.clear();
    for (const block of blocks)
      if ((block.family === 4 || config.ipv6Support) && block.length < width(block.family))
        this.routes.set(formatPrefix(block), blackhole(block));
    if (config.ipForwarding === "Enabled") this.settings.set("node", nodeSettings(config));
  }

  #add(endpoint: LocalEndpoint, config: NodeState["config"]): void {
    if (this.#in.has(endpoint)) return;
    const its = ofEndpoint(endpoint, config);
    this.#in.set(endpoint, its);
    if (!its.isOurs) return;
    if (this.settings.has(its.owner)) this.#isContested = true;
    this.settings.set(its.owner, its.settings);
    for (const [dst, route] of its.routes) {
      if (this.routes.has(dst)) this.#isContested = true;
      this.routes.set(dst, route);
    }
  }

  #drop(endpoint: LocalEndpoint): void {
    const its = this.#in.get(endpoint);
    this.#in.delete(endpoint);
    if (!its?.isOurs) return;
    this.settings.delete(its.owner);
    for (const dst of its.routes.keys()) this.routes.delete(dst);
  }
}

function nodeSettings({ ipv6Support }: NodeState["config"]): Settings {
  const node = new Map([["net.ipv4.ip_forward", "1"]]);
  if (ipv6Support) node.set("net.ipv6.conf.all.forwarding", "1");
  return node;
}

const blackhole = (dst: Prefix): Route => ({
  dst,
  protocol: ROUTE_PROTOCOL,
  type: "blackhole",
  nexthops: [],
});

function workload({ interfaceName }: LocalEndpoint, address: Address, config: NodeState["config"]): Route {
  const { deviceRouteSourceAddress, deviceRouteSourceAddressIPv6 } = config;
  const source = address.family === 4 ? deviceRouteSourceAddress : deviceRouteSourceAddressIPv6;
  return {
    dst: hostPrefix(address),
    protocol: ROUTE_PROTOCOL,
    type: "unicast",
    nexthops: [{ dev: interfaceName }],
    ...(source !== undefined && { source: parseAddress(source) }),
  };
}

/** The kernel takes the larger of this and conf.all: 1 is strict, 2 loose. */
const RP_FILTER = { Disabled: "0", Strict: "1", Loose: "2" } as const;

function interfaceSettings(
  { interfaceName, spoofable }: Served,
  { workloadRPF }: NodeState["config"],
): [string, string][] {
  const name = sysctlName(interfaceName);
  return [
    [`net.ipv4.conf.${name}.forwarding`, "1"],
    [`net.ipv4.conf.${name}.proxy_arp`, "1"], // 169.254.1.1 is nobody's address: the kernel answers for it
    [`net.ipv4.neigh.${name}.proxy_delay`, "0"],
    // Where other sources are allowed never strict.
    [
      `net.ipv4.conf.${name}.rp_filter`,
      spoofable.length > 0 && workloadRPF === "Strict" ? RP_FILTER.Loose : RP_FILTER[workloadRPF],
    ],
  ];
}

function interfaceSettings6({ interfaceName }: Served): [string, string][] {
  const name = sysctlName(interfaceName);
  return [
    [`net.ipv6.conf.${name}.disable_ipv6`, "0"],
    [`net.ipv6.conf.${name}.forwarding`, "1"],
    [`net.ipv6.conf.${name}.accept_ra`, "0"], // a workload is no router
    [`net.ipv6.conf.${name}.accept_dad`, "0"],
    [`net.ipv6.conf.${name}.proxy_ndp`, "1"],
  ];
}
