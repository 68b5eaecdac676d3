import { formatPrefix } from "@margay/net";
import { Netlink, type NetlinkError, type Notification, type Route, routeTarget } from "@margay/netlink";
import { type Outcome, reconcile, Tracked } from "@margay/reconcile";
import { ROUTE_PROTOCOL } from "../wanted.ts";
import { described, deviceTarget, forwardingTarget, neighbourTarget, readGround } from "./targets.ts";
import { DEVICES, type Ground, isToNode, type WantedOverlay } from "./wanted.ts";

export interface OverlayKernelOptions {
  /** Something of ours changed behind our back, or what it stands on. */
  readonly onChange: () => void;
  readonly onRefused: (dst: string, error: NetlinkError) => void;
  readonly onDeaf: (error: NetlinkError) => void;
}

const NAMES: readonly string[] = Object.values(DEVICES);

/** What of the overlay is in the kernel. Open only while there is something: a node without any hears nothing of it. */
export class OverlayKernel {
  readonly #options: OverlayKernelOptions;
  readonly refused = new Map<string, NetlinkError>();
  #open: Open | undefined;
  /** Interfaces that the node's own addresses are on, and by which its packets leave. */
  #underlay: ReadonlySet<string> = new Set();

  constructor(options: OverlayKernelOptions) {
    this.#options = options;
  }

  close(): void {
    this.#open?.netlink.close();
    this.#open = undefined;
  }

  /** What is there is read before it is written again. */
  distrust(): void {
    for (const tracked of this.#open?.all ?? []) tracked.distrust();
  }

  async ground(): Promise<Ground[]> {
    const ground = await readGround(this.#opened().netlink);
    this.#underlay = new Set(ground.flatMap(({ dev, way }) => (way ? [dev, way.name] : [dev])));
    return ground;
  }

  /** Devices before what is on them; all that names one goes before it. */
  async apply(wanted: WantedOverlay): Promise<readonly Outcome[]> {
    const { devices, forwarding, neighbours, routes } = this.#opened();
    const rest = [
      forwarding.to(wanted.forwarding),
      neighbours.to(wanted.neighbours),
      routes.to(wanted.routes),
    ];
    if (this.refused.size > 0) routes.distrust();
    this.refused.clear();
    const works = [
      devices.to(new Map([...wanted.devices].map(([name, one]) => [name, described(one)]))),
      ...rest,
    ];
    const outcomes = await reconcile(works);
    const [made] = outcomes;
    if (!made || made.put + made.removed === 0) return outcomes;
    for (const tracked of [forwarding, neighbours, routes]) tracked.distrust(); // a new device has nothing of the old one
    return [...outcomes, ...(await reconcile(rest))];
  }

  #opened(): Open {
    this.#open ??= this.#subscribe();
    return this.#open;
  }

  #subscribe(): Open {
    const netlink = Netlink.open({
      groups: ["link", "neigh", "addr4", "addr6", "route4", "route6"],
      onNotification: (notification) => void this.#heed(notification),
      onOverflow: () => this.#ask(),
      onError: this.#options.onDeaf,
    });
    const onRefused = ({ route, error }: { route: Route; error: NetlinkError }) => {
      this.refused.set(formatPrefix(route.dst), error);
      this.#options.onRefused(formatPrefix(route.dst), error);
    };
    const tracked = {
      devices: new Tracked(deviceTarget(netlink)),
      forwarding: new Tracked(forwardingTarget(netlink)),
      neighbours: new Tracked(neighbourTarget(netlink)),
      routes: new Tracked(routeTarget(netlink, { protocol: ROUTE_PROTOCOL, only: isToNode, onRefused })),
    };
    return { netlink, ...tracked, all: Object.values(tracked) };
  }

  #heed(notification: Notification): void {
    if (!notification.own && this.#concerns(notification)) this.#ask();
  }

  #concerns(notification: Notification): boolean {
    const name = (index: number) => this.#open?.netlink.nameOf(index) ?? "";
    switch (notification.kind) {
      case "link":
        return NAMES.includes(notification.link.name) || this.#underlay.has(notification.link.name);
      case "route":
        return notification.route.protocol === ROUTE_PROTOCOL && isToNode(notification.route);
      case "address":
        return (
          NAMES.includes(name(notification.address.index)) ||
          this.#underlay.has(name(notification.address.index))
        );
      case "neighbour":
        return NAMES.includes(name(notification.neighbour.index));
      case "forwarding":
        return NAMES.includes(name(notification.forwarding.index));
      case "nexthop":
        return false; // these are bgpd's
    }
  }

  #ask(): void {
    this.distrust();
    this.#options.onChange();
  }
}

interface Open {
  readonly netlink: Netlink;
  readonly devices: Tracked<ReturnType<typeof described>>;
  readonly forwarding: Tracked<WantedOverlay["forwarding"] extends ReadonlyMap<string, infer V> ? V : never>;
  readonly neighbours: Tracked<WantedOverlay["neighbours"] extends ReadonlyMap<string, infer V> ? V : never>;
  readonly routes: Tracked<Route>;
  readonly all: readonly { distrust(): void }[];
}
