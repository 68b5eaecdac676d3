import { setTimeout as sleep } from "node:timers/promises";
import { ROOT } from "@margay/api";
import { Calc, findById } from "@margay/calc";
import type { CniDeps, HeldHere } from "@margay/cni";
import { type DaemonContext, NewSpaceBound } from "@margay/daemon";
import { BarrierResponder, type SyncBatch, Syncer } from "@margay/datastore";
import { BlockCache, Ipam, limitRatio } from "@margay/ipam";
import type { Address } from "@margay/net";
import { chores } from "./chores.ts";
import { Cutter } from "./cutter.ts";
import { Dataplane, type Pass } from "./dataplane.ts";
import { Domains } from "./dns/domains.ts";
import { Expected } from "./expected.ts";
import { blockOf, borrowedIn, heldHere } from "./held.ts";
import { HostAddresses } from "./host-addresses.ts";
import { decodeUpdates, fileInto, Inventory, type OnCorrupt } from "./intake.ts";
import { logIpam } from "./ipam-events.ts";
import { Kernel } from "./kernel.ts";
import { removeVanished } from "./left-behind.ts";
import { LocalEndpoints } from "./local-endpoints.ts";
import type { AgentMetrics } from "./metrics.ts";
import { observingStore } from "./observing-store.ts";
import type { AgentOptions } from "./options.ts";
import { Overlay } from "./overlay/overlay.ts";
import { PodMtu } from "./pod-mtu.ts";
import { Shaper } from "./qos/shaper.ts";
import { Teller } from "./teller.ts";
import { keepDoing } from "./timers.ts";

/** Resolves early when the signal aborts. */
const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  sleep(ms, undefined, { signal }).catch(() => undefined);

/** A DNS answer waits no longer for the kernel: who asked would ask again after five seconds. */
const ANSWER_WAITS_MS = 4000;

/**
 * The agent of one node. Everything flows one way:
 *
 *     datastore ─► Syncer ─► #take ─┬─► Calc ─► state ─► Dataplane ─► Kernel: sets, chains, hooks, sysctls, routes
 *                    ▲ observe      ├─► BlockCache ─► Ipam ◄── CNI server ◄── relay
 *                    └──────────────┼──── writes of IPAM and CNI ───┘
 *                                   └─► barrier answers
 *
 * Nothing is written to the kernel before the first full reading, and nothing is removed from it at the end: a restart
 * leaves no gap.
 */
export class Agent {
  readonly #context: DaemonContext<AgentOptions>;
  readonly #teller: Teller;
  readonly #barriers: BarrierResponder;
  readonly #blocks: BlockCache;
  readonly #stopTimers: () => void;
  readonly #newSpace = new NewSpaceBound();
  #inSync = false;
  #lookedBack = false;
  readonly #mtu: PodMtu;
  readonly #addresses: HostAddresses;
  readonly calc: Calc;
  readonly inventory: Inventory;
  readonly localEndpoints: LocalEndpoints;
  readonly kernel: Kernel;
  readonly dataplane: Dataplane;
  readonly #cutter: Cutter;
  readonly syncer: Syncer;
  readonly ipam: Ipam;
  readonly overlay: Overlay;
  readonly #shaper: Shaper;
  readonly #expected = new Expected();
  readonly domains: Domains;

  constructor(context: DaemonContext<AgentOptions>) {
    const { store, node } = context;
    this.#context = context;
    this.#teller = new Teller(context);
    const teller = this.#teller;
    this.calc = new Calc(node);
    this.inventory = new Inventory(node);
    this.localEndpoints = new LocalEndpoints(node);
    this.kernel = new Kernel({
      onChange: (why) => this.#kernelChanged(why),
      onLink: (link) => {
        this.#mtu.heed(link);
        this.#shaper.heedLink(link);
        this.#addresses.heedLink(link.index);
      },
      onAddress: (change, address) => this.#addresses.heed(change, address),
      onRoute: (route) => this.#mtu.heedRoute(route),
      onLost: () => void this.#addresses.read(), // what it throws ends the process, as with the links
      onError: (error) => {
        throw error; // without notifications the agent is blind: crash and start anew
      },
      onRepaired: (what) => teller.repaired(what),
      onChosen: (choice) => teller.chosen(choice),
      onLookFailed: teller.failing(
        "packet-filter-not-looked-at",
        "what others keep in iptables is not known",
      ),
      unrouted: this.#expected.interfaces,
      nftablesMode: context.options.nftablesMode,
      onRemembered: (error) =>
        context.log.warn({ event: "connections-remembered", err: error }, error.message),
    });
    this.#addresses = new HostAddresses(this.kernel.netlink, (interfaces) => {
      this.calc.setInterfaces(interfaces);
      if (this.#inSync) this.dataplane.changed();
    });
    this.#cutter = new Cutter({
      netlink: this.kernel.netlink,
      onCut: (count) => teller.connectionsCut(count),
      onError: teller.failing("cut-failed", "connections not cut"),
    });
    this.#mtu = new PodMtu({
      netlink: this.kernel.netlink,
      self: () => this.inventory.self,
      overhead: () => this.overlay.overheadBytes,
      endpoints: this.localEndpoints.list,
      onFollowed: (mtu, interfaces) =>
        context.log.info({ event: "mtu", mtu, interfaces }, `pods now have MTU ${mtu}, as the uplink`),
      onUplink: () => this.overlay.check(),
      onError: (error) =>
        context.log.warn({ event: "mtu-unknown", err: error }, `pods get MTU ${this.mtu}: ${String(error)}`),
    });
    this.domains = new Domains({
      runDir: context.options.runDir,
      meant: (domain) => this.calc.domainMeant(domain),
      onChange: (domain, addresses) => {
        this.calc.setDomain(domain, addresses);
        this.dataplane.changed();
      },
      settled: () => this.dataplane.caughtUp(ANSWER_WAITS_MS),
      onRefused: (why, count) => this.metrics.domainsRefused(why, count),
      onError: teller.failing("domains-failed", "addresses of domains not learnt"),
      now: () => Date.now(),
    });
    this.metrics.domainsFrom(() => this.domains.all);
    this.dataplane = new Dataplane({
      kernel: this.kernel,
      onPass: () => this.#expected.passBegins(),
      state: () => {
        const state = this.calc.state();
        this.domains.listen(state.resolvers !== undefined); // before any answer is sent there
        return state;
      },
      onApplied: (pass) => this.#applied(pass),
      onError: (error, retryInMs) =>
        teller.failed(error, { retryInMs, hasApplied: this.dataplane.hasApplied }),
    });
    this.syncer = new Syncer({
      ...{ store, prefix: ROOT, sleep: pause },
      onBatch: (batch) => this.#take(batch),
      onStatus: (status) => teller.connection(status),
    });
    const pending = async () => (await this.dataplane.pending()) ?? this.overlay.pending();
    this.#barriers = new BarrierResponder({ store, node, daemon: "agent", pending, sleep: pause });
    this.#blocks = new BlockCache({ node, observe: (...entries) => this.syncer.observe(...entries) });
    this.ipam = new Ipam({
      ...{ store, node, now: () => new Date(), blocks: this.#blocks },
      ...{ pools: this.inventory.pools, config: this.inventory.ipam, labels: this.inventory.labels },
      ...{ reservations: this.inventory.reservations, racks: this.inventory.racks },
      namespaceLabels: this.inventory.namespaceLabels,
      onEvent: (event) => {
        this.metrics.ipam(event);
        logIpam(context.log, event);
      },
    });
    this.metrics.blockLimitFrom(() =>
      limitRatio(this.#blocks.mine(), { node, limit: this.inventory.ipam().maxBlocksPerHost }),
    );
    this.#shaper = new Shaper({
      netlink: this.kernel.netlink,
      endpoints: this.localEndpoints.limited,
      onError: teller.failing("shaping-failed", "limits of pods' traffic not set"),
      onSlowPeak: (endpoint) =>
        context.log.warn(
          { event: "peak-ignored", endpoint },
          `${endpoint}: a peak rate that is not above the bandwidth is not set`,
        ),
    });
    this.overlay = new Overlay({
      ...{ node, ipam: this.ipam, store: observingStore(store, (entry) => this.syncer.observe(entry)) },
      borrowed: () => borrowedIn(this.#blocks.borrowed()),
      config: () => this.calc.state().config,
      onApplied: (outcomes) => teller.overlaid(outcomes),
      onRefused: (dst, error) => context.log.warn({ event: "route-refused", dst, err: error }, error.message),
      onError: (error, retryInMs) =>
        context.log.error(
          { event: "overlay-failed", err: error, retryInMs },
          `no way to other nodes: ${String(error)}`,
        ),
      onDeaf: (error) => {
        throw error; // as with the dataplane's notifications
      },
      onOverhead: () => this.#mtu.learn(),
    });
    this.#stopTimers = keepDoing(this.#chores());
  }

  /** Begins to read the datastore. The promise rejects only for a fault of the program. */
  async start(): Promise<void> {
    this.#context.health.ready("dataplane", false, "the datastore has not been read yet");
    this.#judgeNode();
    await this.#addresses.read(); // before the first pass, that it takes no host endpoint's rules away
    return this.syncer.start();
  }

  /** Rules, sets and routes stay in force. */
  async stop(): Promise<void> {
    this.#stopTimers();
    this.#barriers.stop();
    await this.syncer.stop();
    await this.dataplane.stop();
    this.domains.listen(false); // behind the last pass, which would listen again
    await this.overlay.stop();
    await this.#shaper.stop();
    await this.#cutter.stop();
    await this.kernel.close();
  }

  get metrics(): AgentMetrics {
    return this.#teller.metrics;
  }

  /** Bytes, for pods whose configuration names none. */
  get mtu(): number {
    return this.#mtu.bytes;
  }

  /** Why no pod can be served now; undefined when it can. */
  notReady(): string | undefined {
    if (!this.#inSync) return "the agent has not yet read the datastore; is etcd reachable?";
    return this.#lookedBack ? undefined : "the agent is looking for what vanished while it was away";
  }

  /** Why an ADD would fail now, and whether pods that are there suffer too. */
  trouble(): { readonly why: string; readonly limited: boolean } | undefined {
    const { passFailed, storeLost } = this.#teller;
    if (passFailed !== undefined)
      return { why: `rules and routes cannot be written: ${passFailed}`, limited: true };
    if (storeLost !== undefined) return { why: `datastore: ${storeLost}`, limited: false };
    if (this.inventory.self === undefined) return { why: this.#noNode(), limited: false };
    return undefined;
  }

  /** All that IPAM holds for containers of this node. */
  held(): Iterable<HeldHere> {
    return heldHere(this.#blocks, this.#context.node);
  }

  blockOf(address: Address): ReturnType<CniDeps["blockOf"]> {
    const prefix = blockOf(this.#blocks, address);
    return prefix && { prefix, reserved: this.inventory.ipam().hostReserved };
  }

  /** What of an endpoint is not in the kernel, which is asked itself; what is missing is then mended. */
  async audit(id: string): Promise<readonly string[]> {
    const state = this.calc.state();
    const endpoint = state.endpoints.find((one) => one.id === id);
    if (!endpoint) return [`endpoint ${id}: the agent has not seen it`];
    const problems = await this.kernel.audit(endpoint, state);
    if (problems.length > 0) {
      this.kernel.distrust("rules");
      this.kernel.distrust("routes");
      this.dataplane.check();
    }
    return problems;
  }

  /**
   * An endpoint of this node is being written (undefined: and will not be, after all): its rules are made meanwhile. To be
   * called anew when it turns out otherwise. One that is there already is left to the datastore.
   */
  expect(key: string, value: string | undefined): void {
    const isNew = value !== undefined && !this.syncer.knows(key);
    const update = isNew ? this.#expected.put(key, value) : this.#expected.withdraw(key);
    if (!update) return;
    fileInto(this.calc, [update], this.#onCorrupt);
    this.dataplane.changed();
  }

  /** The interface group of those that are decided as the workload whose interface is about to be made, if there are such. */
  groupFor(interfaceName: string): number | undefined {
    const id = this.#expected.idOf(interfaceName);
    const endpoint = id === undefined ? undefined : findById(this.calc.state().endpoints, id);
    return endpoint && this.kernel.groupFor(endpoint);
  }

  readonly #onCorrupt: OnCorrupt = (key, error) => {
    this.metrics.corrupt.inc();
    this.#context.log.error(
      { event: "corrupt-value", key, err: error },
      `${key} is closed: ${error.message}`,
    );
  };

  #take({ updates, inSync }: SyncBatch): void {
    if (inSync) this.#newSpace.end();
    else this.#newSpace.look();
    const { log } = this.#context;
    const isNews = new Set(updates.filter((one) => !this.#expected.confirms(one)).map(({ key }) => key));
    const decoded = decodeUpdates(updates, this.#onCorrupt);
    const self = this.inventory.self;
    const news = decoded.filter(({ key }) => isNews.has(key));
    fileInto(this.calc, news, this.#onCorrupt);
    this.inventory.apply(decoded);
    this.localEndpoints.apply(decoded);
    this.#blocks.apply(updates);
    this.overlay.apply(decoded, inSync);
    if (inSync) this.#shaper.heedEndpoints();
    if (this.inventory.self !== self || inSync !== this.#inSync) this.#judgeNode(inSync);
    if (inSync) {
      if (!this.#inSync)
        log.info({ event: "in-sync", keys: this.syncer.size }, "the datastore has been read");
      if (!this.#inSync) void this.#lookBack();
      if (!this.#inSync) this.#recall();
      this.#inSync = true;
      this.dataplane.changed();
    }
    this.#barriers.feed(updates);
  }

  /** Addresses that rules allowed before this process are in the first pass. */
  #recall(): void {
    this.calc.state(); // what rules mean is known when they are compiled
    this.domains.restore();
  }

  /** A node that nobody declared has no addresses and no BGP: say so rather than half work. */
  #judgeNode(inSync = this.#inSync): void {
    const { health, log, node } = this.#context;
    const self = this.inventory.self;
    const why = this.#noNode();
    health.ready("node", self !== undefined, inSync ? why : "the datastore has not been read yet");
    if (inSync && !self) log.warn({ event: "node-missing", node }, why);
    if (self) this.#mtu.learn();
  }

  #noNode(): string {
    return `there is no Node ${this.#context.node} in the datastore: create it, or start with the right --node`;
  }

  #kernelChanged(why: string): void {
    this.#context.log.debug({ event: "kernel-changed", why }, why);
    this.dataplane.check();
  }

  #applied(pass: Pass): void {
    this.#cutter.enforced(pass.state);
    this.#teller.applied(pass, this.kernel);
  }

  /** Before the first call is served. What fails is left to the runtime's own DEL and GC. */
  async #lookBack(): Promise<void> {
    const { log, store, node } = this.#context;
    try {
      const blocks = [...this.#blocks.mine()].map(({ value }) => value);
      const seen = { node, netlink: this.kernel.netlink, endpoints: this.localEndpoints.list(), blocks };
      const names = await removeVanished({ store, ipam: this.ipam }, seen);
      if (names)
        log.info({ event: "left-behind", endpoints: names }, `pods vanished meanwhile: ${names.length}`);
    } catch (error) {
      log.warn({ event: "look-back-failed", err: error }, `vanished pods not looked for: ${String(error)}`);
    }
    this.#lookedBack = true;
  }

  /** Empty blocks go back; what fails now is done the next time. */
  async #tidy(): Promise<void> {
    if (!this.#inSync) return;
    try {
      await this.ipam.tidy();
    } catch (error) {
      if (this.#teller.storeLost !== undefined) return; // that is told already
      this.#context.log.warn(
        { event: "tidy-failed", err: error },
        `blocks not handed back: ${String(error)}`,
      );
    }
  }

  #chores() {
    const { kernel, dataplane, overlay, domains } = this;
    return chores({
      config: () => this.calc.state().config,
      ...{ kernel, dataplane, overlay, shaper: this.#shaper },
      tidy: () => void this.#tidy(),
      forget: () => void (this.#inSync && domains.tidy()),
      alive: () => this.#context.health.live("dataplane"),
    });
  }
}
