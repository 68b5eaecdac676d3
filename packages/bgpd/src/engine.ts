/** Speaker and kernel together: what the one chooses the other writes. Knows no datastore. */
import { uptime } from "node:os";
import type { Changes } from "@margay/bgp";
import { type Address, type Family, formatAddress, formatPrefix, type Prefix } from "@margay/net";
import type { ListenRange, Self, WantedPeer } from "./config.ts";
import { type Gateways, gatewayRoutes, gatewaysOf } from "./gateways.ts";
import { Handover } from "./handover.ts";
import { Kernel, type RouteTable } from "./kernel.ts";
import { bgpProtocol, kernelRoute } from "./kernel-routes.ts";
import { peeringAddresses } from "./local-workloads.ts";
import { noKernel } from "./no-kernel.ts";
import { isOwnBlock, isService, type Origins, originated } from "./originate.ts";
import { OwnAddresses } from "./own-addresses.ts";
import { Routers } from "./routers.ts";
import { type Log, Speaker } from "./speaker.ts";
import { textOf } from "./text-of.ts";
import { type Listener, listen, type Passwords } from "./transport.ts";
import { devicesOf, located } from "./unnumbered.ts";

/** All that the engine should do, as one value. */
export interface Wanted {
  readonly self: Self | undefined;
  readonly peers: ReadonlyMap<string, WantedPeer>;
  /** Networks that further peers may connect from. */
  readonly ranges?: readonly ListenRange[];
  readonly origins: Origins;
  /** Networks that get such a route: what has none of its own there is not sent back to where it came from. */
  readonly discard?: {
    readonly type: "unreachable" | "blackhole";
    readonly networks: readonly Prefix[];
  };
  /** Prefixes, by text, whose kernel routes the agent writes (calc's reach()). */
  readonly leftToAgent?: ReadonlySet<string>;
  /** Whether a prefix may leave this node. */
  readonly isExported: (prefix: Prefix) => boolean;
  /** Changes whenever `isExported` answers differently. */
  readonly exportKey: string;
}

export interface EngineOptions {
  readonly log: Log;
  /** False: no route is written and next hops are not looked up. */
  readonly kernel?: boolean;
  readonly connectRetrySeconds?: number;
  readonly idleHoldSeconds?: number;
}

const families = [4, 6] as const;

/** Of a walk over all of them: some 10 ms. */
const routesInATurn = 4096;

/** Peers keep routes for so long unless told another time: of a reboot before that nobody remembers anything. */
const restartSeconds = 120;

/**
 * Whether what an earlier process announced is forwarded still (F bit, RFC 4724 §3): not after a reboot, which leaves no routes. One
 * that learned nothing left none either. A reflector that writes none has nothing to lose.
 */
export const stillForwards = (
  { isWritten, hasOldRoutes }: Pick<RouteTable, "isWritten" | "hasOldRoutes">,
  uptimeSeconds: number,
): boolean => !isWritten || hasOldRoutes || uptimeSeconds > restartSeconds;

export class Engine {
  readonly #log: Log;
  readonly kernel: RouteTable;
  readonly speaker: Speaker;
  #wanted: Wanted | undefined;
  /** As it was given: without the addresses of unnumbered peers. */
  #given: Wanted | undefined;
  readonly #routers: Routers;
  readonly #addresses: OwnAddresses | undefined;
  /** Of a walk over all prefixes, those to come. */
  #left: Generator<readonly [Family, number]> | undefined;
  #isWalkDue = false;
  readonly #handover = new Handover(() => this.#allRoutes());
  #gateways: Gateways = new Map();
  #held: ReadonlySet<string> = new Set();
  #listener: Listener | undefined;
  #listenKey = "";
  #listening: Promise<void> = Promise.resolve();
  /** Why nobody can connect to us. */
  listenFault: string | undefined;
  #listenRetry: NodeJS.Timeout | undefined;
  #stopped = false;

  private constructor(options: EngineOptions, kernel: RouteTable, speaker: Speaker) {
    this.#log = options.log;
    this.kernel = kernel;
    this.speaker = speaker;
    if (kernel.isWritten) this.#addresses = new OwnAddresses(options.log);
    this.#routers = new Routers({
      log: options.log,
      onChanged: () => this.#given && this.apply(this.#given),
    });
  }

  /** Reads the kernel; nothing is written, dialled or listened to before `apply`. */
  static async open(options: EngineOptions): Promise<Engine> {
    const late: { engine?: Engine } = {};
    const kernel =
      options.kernel === false
        ? noKernel()
        : await Kernel.open({
            log: options.log,
            onFabric: () => late.engine?.fabricChanged(),
            nextHops: () => late.engine?.nextHops() ?? [],
          });
    const speaker = new Speaker({
      ...options,
      restarting: true,
      forwarding: stillForwards(kernel, uptime()),
      cost: (hop) => kernel.cost(hop),
      device: (hop) => kernel.hopsTo(hop)?.[0]?.dev,
      onChanges: (family, changes) => late.engine?.learned(family, changes),
      onConverged: () => kernel.release(),
    });
    late.engine = new Engine(options, kernel, speaker);
    return late.engine;
  }

  /** Makes everything as wanted; what did not change is not touched. */
  apply(given: Wanted): void {
    const before = this.#wanted;
    this.#given = given;
    this.#routers.watch(devicesOf(given.peers));
    const wanted: Wanted = { ...given, peers: located(given.peers, this.#routers.found) };
    this.#wanted = wanted;
    this.#addresses?.set(peeringAddresses(wanted.peers));
    if (before?.exportKey !== wanted.exportKey) this.speaker.setExported(wanted.isExported);
    this.speaker.setOrigins(originated(wanted.origins));
    if (before?.leftToAgent !== wanted.leftToAgent) this.#handover.set(wanted.leftToAgent ?? new Set());
    if (before?.origins !== wanted.origins || before?.leftToAgent !== wanted.leftToAgent) this.#allRoutes();
    this.#setGateways(gatewaysOf(wanted.peers));
    if (heldKey(before) !== heldKey(wanted)) this.#hold();
    this.#listener?.protect(passwordsOf(wanted)); // before sessions take them up
    this.speaker.setPeers(wanted.self, wanted.peers, wanted.ranges);
    this.#listenAs(wanted);
    if (before === undefined) this.kernel.start();
  }

  /** Everything received so far has been decided, sent and written. */
  get isSettled(): boolean {
    return this.speaker.isSettled && this.kernel.isSettled && !this.#left;
  }

  /** Sessions end without a NOTIFICATION and routes stay: the next process takes over. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#listenRetry);
    this.#handover.stop();
    this.#routers.stop();
    await this.#addresses?.stop();
    await this.#listening;
    this.#listener?.close();
    this.speaker.stop();
    await this.kernel.stop();
  }

  learned(family: Family, changes: Changes): void {
    if (this.kernel.isWritten) for (const { id } of changes) this.#route(family, id);
  }

  /** Those of all paths, each perhaps several times. */
  *nextHops(): Generator<Address> {
    for (const family of families) yield* this.speaker.ribs[family].nextHops();
  }

  fabricChanged(): void {
    this.speaker.costsChanged();
    this.#hold();
    this.#allRoutes();
  }

  /** Peers behind gateways: their host routes, and how their own next hops are looked up. */
  #setGateways(gateways: Gateways): void {
    if (textOf([...gateways]) === textOf([...this.#gateways])) return;
    this.#gateways = gateways;
    this.kernel.setGateways(gateways);
    this.#hold();
  }

  /** Routes that no path decides on. */
  #hold(): void {
    const metric = this.#wanted?.self?.metric ?? { 4: 1024, 6: 1024 };
    const held = gatewayRoutes(this.#gateways, { fabric: this.kernel, metric });
    const { type = "blackhole", networks = [] } = this.#wanted?.discard ?? {};
    for (const dst of networks)
      held.set(formatPrefix(dst), {
        ...{ dst, protocol: bgpProtocol, type, metric: metric[dst.family], nexthops: [] },
      });
    for (const key of this.#held) if (!held.has(key)) this.kernel.want(key, undefined);
    for (const [key, route] of held) this.kernel.want(key, route);
    this.#held = new Set(held.keys());
  }

  /** Every route is thought over again: some now, the others after peers were heard. A walk that is under way is ended first: the last have their turn. */
  #allRoutes(): void {
    if (!this.kernel.isWritten) return;
    if (this.#left) {
      this.#isWalkDue = true;
      return;
    }
    this.#isWalkDue = false;
    this.#left = this.#everyPrefix();
    this.#someRoutes();
  }

  #someRoutes(): void {
    for (let count = 0; count < routesInATurn; count++) {
      const next = this.#left?.next();
      if (!next || next.done || this.#stopped) {
        this.#left = undefined;
        if (this.#isWalkDue && !this.#stopped) this.#allRoutes();
        return;
      }
      this.#route(...next.value);
    }
    setImmediate(() => this.#someRoutes());
  }

  *#everyPrefix(): Generator<readonly [Family, number]> {
    for (const family of families)
      for (const id of this.speaker.ribs[family].ids()) yield [family, id] as const;
  }

  #route(family: Family, id: number): void {
    const rib = this.speaker.ribs[family];
    const prefix = rib.prefixes.prefix(id);
    const origins = this.#wanted?.origins;
    const metric = this.#wanted?.self?.metric[family] ?? 1024;
    const key = formatPrefix(prefix);
    if (this.#held.has(key)) return;
    const isAgents = (origins && isOwnBlock(origins, prefix)) || this.#handover.isLeft(key);
    const isNobodys = origins !== undefined && isService(origins, prefix);
    const route =
      isAgents || isNobodys
        ? undefined
        : kernelRoute({ prefix, paths: rib.equal(id), fabric: this.kernel, metric });
    this.kernel.want(key, route);
  }

  /** Listens where the speaker's configuration says; a port in use is tried again every second. */
  #listenAs({ self, peers }: Wanted): void {
    const soon = [...peeringAddresses(peers).values()];
    const own = Object.values(self?.addresses ?? {}).flatMap((a) => (a ? [a.address] : []));
    const addresses = self?.listenAddresses ?? (self?.bindNodeAddress ? [...own, ...soon] : undefined);
    const options = self && { port: self.listenPort, soon, ...(addresses ? { addresses } : {}) };
    const key = options ? `${options.port} ${(options.addresses ?? []).map((a) => a.bits).join()}` : "";
    if (key === this.#listenKey) return;
    this.#listenKey = key;
    clearTimeout(this.#listenRetry);
    this.#listening = this.#listening.then(async () => {
      this.#listener?.close();
      this.#listener = undefined;
      if (!options || this.#stopped) return;
      try {
        this.#listener = await listen(options, (connection, from) => this.speaker.accept(connection, from));
        if (this.#wanted) this.#listener.protect(passwordsOf(this.#wanted));
        this.listenFault = undefined;
        this.#log.info({ event: "listening", port: options.port }, `listening on port ${options.port}`);
      } catch (error) {
        this.listenFault = (error as Error).message; // listen rejects with system errors
        this.#log.warn({ event: "listen-failed", err: error }, this.listenFault);
        if (this.#listenKey !== key) return; // what is wanted now comes next
        this.#listenKey = "";
        this.#listenRetry = setTimeout(() => this.#wanted && this.#listenAs(this.#wanted), 1000);
      }
    });
  }
}

/** Changes with what routes are held, beside gateways, and their metric. */
const heldKey = (wanted: Wanted | undefined): string => textOf([wanted?.discard, wanted?.self?.metric]);

const passwordsOf = ({ peers, ranges = [] }: Wanted): Passwords =>
  new Map([
    ...[...peers.values()].flatMap(({ address: peer, password }) =>
      password === undefined ? [] : [[formatAddress(peer), { peer, password }] as const],
    ),
    ...ranges.flatMap(({ range: { family, bits, length }, template: { password } }) =>
      password === undefined
        ? []
        : [[formatPrefix({ family, bits, length }), { peer: { family, bits }, length, password }] as const],
    ),
  ]);
