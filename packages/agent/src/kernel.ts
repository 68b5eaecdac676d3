import { changedById, type LocalEndpoint, type NodeState } from "@margay/calc";
import { formatPrefix, sameAddress } from "@margay/net";
import {
  forgetConnections,
  type Link,
  type ListedAddress,
  Netlink,
  type NetlinkError,
  type Notification,
  type Route,
  routeTarget,
} from "@margay/netlink";
import { type Outcome, oncePer, reconcile, Tracked } from "@margay/reconcile";
import { auditNetwork } from "./audit.ts";
import { CohortTable, cohortsOf, type Move } from "./cohorts.ts";
import { groupsWork } from "./groups-work.ts";
import { late } from "./late.ts";
import { LinkTable } from "./link-table.ts";
import { isToNode } from "./overlay/wanted.ts";
import { Refused } from "./refused.ts";
import { type Cohorts, NOBODY } from "./render/cohort.ts";
import type { Choice, NftablesMode } from "./rulesets/choose.ts";
import { isOfKernel, type Refusal, refusalOf } from "./rulesets/refusal.ts";
import type { RulesetKind } from "./rulesets/ruleset.ts";
import { sysctlTarget } from "./sysctl-target.ts";
import { Tables } from "./tables.ts";
import { notOurs, ownerOf, ROUTE_PROTOCOL, routesOf, type Settings, Wanted } from "./wanted.ts";

export interface KernelOptions {
  /** The kernel is no longer what was written, or an interface came: run a pass. */
  readonly onChange: (why: string) => void;
  /** The kernel told of an interface, whosever it is. */
  readonly onLink: (link: Link) => void;
  /** The kernel told of an address of an interface. */
  readonly onAddress: (change: "new" | "deleted", address: ListedAddress) => void;
  /** The kernel told of a route that is there now, whosever it is. */
  readonly onRoute: (route: Route) => void;
  /** Notifications were lost: what was told may be wrong. */
  readonly onLost: () => void;
  /** No more notifications. */
  readonly onError: (error: NetlinkError) => void;
  /** Rules that somebody else had removed or changed are in force again. */
  readonly onRepaired: (what: readonly string[]) => void;
  /** Rules will be there from now on. */
  readonly onChosen: (choice: Choice) => void;
  /** What others keep in iptables, which may be why rules must be there, could not be looked at; it is tried again. */
  readonly onLookFailed: (error: unknown, retryInMs: number) => void;
  /** Interfaces of workloads that get rules and no route yet. */
  readonly unrouted?: () => ReadonlySet<string>;
  /** Instead of FelixConfiguration's. */
  readonly nftablesMode?: NftablesMode | undefined;
  /** Connections of an address that is no longer a pod's are still known to the kernel. */
  readonly onRemembered: (error: NetlinkError) => void;
}

interface Written {
  readonly outcomes: readonly Outcome[];
  /** Nothing waits for its interface. */
  readonly isWhole: boolean;
}

const NONE: ReadonlyMap<string, Route> = new Map();
const NO_MOVES: ReadonlyMap<string, Move> = new Map();

const interfacesOf = oncePer(
  (endpoints: NodeState["endpoints"]): ReadonlySet<string> =>
    new Set(endpoints.map(({ interfaceName }) => interfaceName)),
);

/** So many rules that are refused are found in one pass. */
const REFUSED_AT_MOST = 100;

/** All that the agent owns in this node's kernel. */
export class Kernel {
  readonly netlink: Netlink;
  readonly #tables: Tables;
  readonly #options: KernelOptions;
  readonly #links = new LinkTable();
  readonly #routes: Tracked<Route>;
  readonly #closed = new Refused();
  readonly #sysctlTarget = sysctlTarget();
  readonly #sysctls = new Tracked(this.#sysctlTarget);
  /** Routes that the kernel did not take in the last pass, by destination, and why. */
  readonly #refused = new Map<string, NetlinkError>();
  #hasLinks = false;
  #kind: RulesetKind | undefined;
  readonly #cohortTable = new CohortTable();
  /** Of the last pass. */
  #cohorts: Cohorts = NOBODY;
  readonly #wanted = new Wanted();
  /** Whose routes waited for their confirmation when routes were last wanted. */
  #unrouted: ReadonlySet<string> = new Set();
  /**
   * Routes of the last pass that succeeded, by destination, the refused ones among them; none while they are being written, and
   * after a pass that failed.
   */
  #written: ReadonlyMap<string, Route> = NONE;
  /** Those of the last pass that succeeded. */
  #endpoints: NodeState["endpoints"] = [];
  /** Those of the last pass, whether it succeeded or not: news of others' interfaces is for the table only. */
  #concerned: NodeState["endpoints"] = [];
  /** The kernel is known to match this state; undefined as soon as anything may have changed. */
  #matches: NodeState | undefined;
  /** Of the last pass that succeeded, as they were enforced. */
  #goodSettings: NodeState["config"] | undefined;
  /** How often something changed, or was said to be no longer trusted. */
  #changes = 0;

  constructor(options: KernelOptions) {
    this.#options = options;
    this.#tables = new Tables({
      ...{
        nftablesMode: options.nftablesMode,
        onChosen: options.onChosen,
        onLookFailed: options.onLookFailed,
      },
      ...{ onRepaired: options.onRepaired, onError: options.onError },
      onForeign: (why) => this.#ask(why),
    });
    this.netlink = Netlink.open({
      groups: ["link", "addr4", "addr6", "route4", "route6"],
      onNotification: (notification) => this.#heed(notification),
      onOverflow: () => this.#lostTrack(),
      onError: options.onError,
    });
    const onRefused = ({ route, error }: { route: Route; error: NetlinkError }) =>
      void this.#refused.set(formatPrefix(route.dst), error);
    this.#routes = new Tracked(
      routeTarget(this.netlink, { protocol: ROUTE_PROTOCOL, only: (route) => !isToNode(route), onRefused }),
    );
  }

  /** Lets go of the kernel, which keeps all it has. */
  async close(): Promise<void> {
    this.netlink.close();
    await this.#tables.close();
  }

  /** Routes written by the last pass. */
  get routeCount(): number {
    return this.#written.size;
  }

  /** Routes by destination that could not be written, and why. */
  get refused(): ReadonlyMap<string, NetlinkError> {
    return this.#refused;
  }

  /** A new interface has these settings. */
  wired(interfaceName: string, settings: Settings): void {
    this.#sysctlTarget.done(ownerOf(interfaceName), settings);
  }

  /** It goes, and they with it. */
  unwired(interfaceName: string): void {
    this.#sysctlTarget.undone(ownerOf(interfaceName));
  }

  /** Packets and bytes by rule id. Not for the hot path. */
  counters(): ReturnType<Tables["counters"]> {
    return this.#tables.counters();
  }

  /** The next pass reads these again; routes bring the interfaces' settings along. */
  distrust(what: "routes" | "rules" | "sets"): void {
    this.#changed();
    if (what === "rules") this.#closed.forget();
    if (what === "routes") this.#distrustRoutes();
    else this.#tables.distrust(what);
  }

  /** What can be enforced of a state: policies and endpoints of which no rule can be made, or the packet filter refused one, are closed. */
  enforced(state: NodeState): NodeState {
    return this.#closed.enforced(state);
  }

  /**
   * Makes the kernel match: sets before chains before hooks, and a workload's rules before its route, so that its first
   * packet is policed. Throws what failed; what was written before stands.
   * @returns what was done; nothing when the kernel is known to match already
   */
  async apply(state: NodeState): Promise<readonly Outcome[]> {
    if (state === this.#matches) return [];
    this.#changed();
    const changes = this.#changes;
    this.#concerned = state.endpoints;
    if (!this.#hasLinks) await this.#readLinks();
    if (this.#links.takeLost() || this.#refused.size > 0) this.#distrustRoutes();
    const { outcomes, isWhole } = await this.#writeAllTaken(state);
    this.#goodSettings = this.enforced(state).config;
    await this.#forgetFormer(state);
    if (changes === this.#changes && this.#refused.size === 0 && isWhole) this.#matches = state;
    return outcomes;
  }

  /**
   * As much as the packet filter takes. A rule may be refused since we believed wrongly what is there: only what is refused again
   * after a new reading, of the sets too, is closed; and that of which no rule can be made.
   */
  async #writeAllTaken(state: NodeState): Promise<Written> {
    let before: string | undefined;
    for (let tries = 0; ; tries++) {
      try {
        return await this.#write(this.enforced(state));
      } catch (error) {
        const refusal = refusalOf(error);
        if (tries >= 2 * REFUSED_AT_MOST || (isOfKernel(error) && !refusal)) throw error;
        const what = refusal && JSON.stringify(refusal);
        if (what !== before) {
          before = what;
          this.#tables.distrust("sets"); // the rules' own target already has
        } else {
          before = undefined;
          if (!this.#blame(state, error, refusal)) throw error;
        }
      }
    }
  }

  #blame(state: NodeState, error: unknown, refusal: Refusal | undefined): boolean {
    const whyNot = (trial: NodeState): string | undefined => {
      try {
        const isAsked = this.#tables.asks(trial, refusal, this.#cohortsAnew(trial));
        return isAsked ? `the packet filter refused a rule: ${error}` : undefined;
      } catch (cause) {
        return `its rules cannot be made: ${cause}`;
      }
    };
    return this.#closed.blame(state, { whyNot, good: this.#goodSettings });
  }

  /** As of a state that is only tried: without what was before. */
  #cohortsAnew(state: NodeState): Cohorts {
    return this.#kind === "nftables" ? cohortsOf(state, this.#links) : NOBODY;
  }

  /** Interfaces are looked at when all rules are written: the kernel may have told of a new one meanwhile. */
  async #write(state: NodeState): Promise<Written> {
    let unrouted: ReadonlySet<string> = new Set();
    const isUp = (name: string) => this.#links.isUp(name) && !unrouted.has(name) && this.#isGrouped(name);
    const outcomes = await reconcile([
      ...(await this.#tables.works(state, (kind) => this.#cohortsOn(kind, state))),
      groupsWork(this.netlink, this.#links, () =>
        this.#cohorts === NOBODY ? NO_MOVES : this.#cohortTable.moves,
      ),
      late("sysctls", () => {
        unrouted = this.#options.unrouted?.() ?? unrouted;
        this.#written = NONE;
        this.#refused.clear();
        return this.#sysctls.to(this.#wanted.update(state, isUp, this.#touched(unrouted)).settings);
      }),
      late("routes", () => this.#routes.to(this.#wanted.routes)),
    ]);
    await this.#tables.settled();
    this.#written = this.#wanted.routes;
    return { outcomes, isWhole: unrouted.size === 0 };
  }

  /** Dispatching by groups of interfaces is what only verdict maps make cheap. */
  #cohortsOn(kind: RulesetKind, state: NodeState): Cohorts {
    const isOther = kind !== this.#kind;
    if (isOther) this.#links.grewOld();
    this.#kind = kind;
    const touched = this.#links.takeRegrouped();
    this.#cohorts =
      kind === "nftables"
        ? this.#cohortTable.update(state, this.#links, isOther ? undefined : touched)
        : NOBODY;
    return this.#cohorts;
  }

  /** Where the rules ask for groups of interfaces: that of those that are decided as this workload is, if there is one. */
  groupFor(endpoint: LocalEndpoint): number | undefined {
    return this.#cohorts === NOBODY ? undefined : this.#cohortTable.groupFor(endpoint);
  }

  /** False for a new interface whose group is to decide about its packets, and which is in none yet. */
  #isGrouped(interfaceName: string): boolean {
    if (this.#cohorts === NOBODY) return true;
    const move = this.#cohortTable.moves.get(interfaceName);
    return !move?.isMember || this.#links.groupOf(interfaceName) === move.group;
  }

  /** Interfaces that came, went or were confirmed since the last time; undefined where that may be any. */
  #touched(unrouted: ReadonlySet<string>): ReadonlySet<string> | undefined {
    const before = this.#unrouted;
    this.#unrouted = new Set(unrouted);
    const links = this.#links.takeTouched();
    return links && new Set([...links, ...before, ...unrouted]);
  }

  /** A pod's connections end with it, and not when it only changed: the next one with its address has a policy of its own. */
  async #forgetFormer({ endpoints }: NodeState): Promise<void> {
    const { gone, came } = changedById(this.#endpoints, endpoints);
    this.#endpoints = endpoints;
    const left = gone.flatMap(({ id, addresses }) => addresses.map((address) => ({ id, address })));
    if (left.length === 0) return;
    const isKept = ({ id, address }: (typeof left)[number]) =>
      came.some((one) => one.id === id && one.addresses.some((own) => sameAddress(own, address)));
    const freed = left.filter((one) => !isKept(one)).map(({ address }) => address);
    const error = freed.length > 0 ? await forgetConnections(freed) : undefined;
    if (error) this.#options.onRemembered(error);
  }

  /** Why the last pass left a workload without its routes; undefined when they are in. */
  missing(endpoint: LocalEndpoint, config: NodeState["config"]): string | undefined {
    const { interfaceName } = endpoint;
    const why = notOurs(endpoint, config);
    if (why !== undefined) return why;
    if (!this.#links.isUp(interfaceName)) return `interface ${interfaceName} is not there, or is down`;
    if (this.#links.isLost(interfaceName)) return `interface ${interfaceName} has just been made anew`;
    if (!this.#isGrouped(interfaceName)) return `interface ${interfaceName} is not in its group yet`;
    const wanted = [...routesOf(endpoint, config).keys()];
    const refused = wanted.map((dst) => this.#refused.get(dst)).find(Boolean);
    if (refused) return refused.message;
    const without = wanted.find((dst) => this.#written.get(dst)?.nexthops[0]?.dev !== interfaceName);
    return without && `no route to ${without} yet`;
  }

  /** What of one workload's rules, routes and settings is not in the kernel: reads it, which takes its time. */
  async audit(endpoint: LocalEndpoint, state: NodeState): Promise<readonly string[]> {
    const lost = await this.#tables.differing(endpoint, this.enforced(state), this.#cohorts);
    return [
      ...(await auditNetwork(this.netlink, endpoint, state)),
      ...lost.map((what) => `${what} on the node: gone or changed`),
    ];
  }

  #changed(): void {
    this.#changes++;
    this.#matches = undefined;
  }

  #distrustRoutes(): void {
    this.#routes.distrust();
    this.#sysctls.distrust();
  }

  async #readLinks(): Promise<void> {
    this.#links.reset(await this.netlink.links());
    this.#hasLinks = true;
  }

  /** Files what happened, and asks for a pass if that concerns us. */
  #heed(notification: Notification): void {
    if (notification.kind === "link") {
      const { link, change } = notification;
      if (change === "new") this.#options.onLink(link);
      if (this.#links.apply(notification) && interfacesOf(this.#concerned).has(link.name))
        this.#ask(`link ${link.name} ${change}`);
    }
    if (notification.kind === "address") this.#options.onAddress(notification.change, notification.address);
    if (notification.kind === "route" && notification.change === "new")
      this.#options.onRoute(notification.route);
    if (notification.kind === "route" && !notification.own && this.#concerns(notification)) {
      this.#routes.distrust();
      this.#ask(`route ${formatPrefix(notification.route.dst)} ${notification.change}`);
    }
  }

  #ask(why: string): void {
    this.#changed();
    this.#options.onChange(why);
  }

  /** One of ours changed behind our back, or the place of one that was refused is free. */
  #concerns({ change, route }: Extract<Notification, { kind: "route" }>): boolean {
    if (route.protocol === ROUTE_PROTOCOL) return !isToNode(route); // those are the overlay's
    return change === "deleted" && this.#refused.has(formatPrefix(route.dst));
  }

  #lostTrack(): void {
    this.#hasLinks = false;
    this.#distrustRoutes();
    this.#options.onLost();
    this.#ask("kernel notifications were lost");
  }
}
