import { setTimeout as sleep } from "node:timers/promises";
import type { FelixSettings } from "@margay/api";
import {
  addressOf,
  type OwnedBlock,
  type ReachableNode,
  type Reached,
  reach,
  readReachable,
  type Update,
} from "@margay/calc";
import { resources, type Store } from "@margay/datastore";
import type { Ipam } from "@margay/ipam";
import type { Family } from "@margay/net";
import type { NetlinkError } from "@margay/netlink";
import { Loop, type Outcome } from "@margay/reconcile";
import { HANDOVER_MS, Handover } from "./handover.ts";
import { Landscape } from "./landscape.ts";
import { OverlayKernel } from "./overlay-kernel.ts";
import {
  handleOf,
  holdTunnelAddress,
  isTunnelled,
  published,
  type TunnelAddresses,
} from "./tunnel-addresses.ts";
import { OVERHEAD, wantedOverlay } from "./wanted.ts";

export interface OverlayOptions {
  readonly node: string;
  /** Its writes are observed. */
  readonly store: Store;
  readonly ipam: Pick<Ipam, "assign" | "release">;
  /** Addresses that pods of a node have of another's block; the same array while none changes. */
  readonly borrowed: () => readonly OwnedBlock[];
  readonly config: () => FelixSettings;
  readonly onApplied: (outcomes: readonly Outcome[]) => void;
  readonly onRefused: (dst: string, error: NetlinkError) => void;
  readonly onError: (error: unknown, retryInMs: number) => void;
  /** Netlink is deaf: a fault that ends the process. */
  readonly onDeaf: (error: NetlinkError) => void;
  /** Pods' packets have more or fewer bytes less to travel in. */
  readonly onOverhead: () => void;
}

const FAMILIES = [4, 6] as const;
const SETTLE_MS = 1000;

/**
 * The ways to other nodes that are the agent's (calc's reach): VXLAN devices, where their frames go, and routes.
 *
 *     datastore ─► Landscape ─► reach ─► Handover ─► wantedOverlay ─► OverlayKernel: devices, forwarding, neighbours, routes
 *                                 ▲                                        │
 *                                 └── Node: tunnel address, MAC ◄── published once the device is there
 *
 * A loop of its own: it has nothing to do with pods that come and go.
 */
export class Overlay {
  readonly #options: OverlayOptions;
  readonly #landscape: Landscape;
  readonly #handover = new Handover();
  readonly #kernel: OverlayKernel;
  readonly #loop: Loop;
  #borrowed: readonly OwnedBlock[] = [];
  #tunnels: TunnelAddresses = {};
  /** Since when a tunnel is not needed here (performance.now): it outlives its routes, as others may still send into it. */
  readonly #idleSince = new Map<Family, number>();
  #overhead = 0;
  /** Counts of what was delivered, and of what of it the kernel has. */
  #wanted = 0;
  #applied = 0;
  #inSync = false;
  /** Nothing is ours in the kernel and nothing wanted. */
  #isIdle = false;
  #failure: string | undefined;
  /** Nodes whose end of the tunnel is not there yet. */
  #awaited: readonly string[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(options: OverlayOptions) {
    this.#options = options;
    this.#landscape = new Landscape(options.node);
    this.#kernel = new OverlayKernel({
      onChange: () => this.check(),
      onRefused: options.onRefused,
      onDeaf: options.onDeaf,
    });
    this.#loop = new Loop({
      pass: () => this.#pass(),
      sleep: (ms, signal) => sleep(ms, undefined, { signal }).catch(() => undefined), // early is fine
      onError: (error, retryInMs) => {
        this.#failure = error instanceof Error ? error.message : String(error);
        options.onError(error, retryInMs);
      },
    });
  }

  /** Takes in a batch of the datastore. Nothing is written before `inSync`. */
  apply(updates: readonly Update[], inSync: boolean): void {
    let changed = this.#landscape.apply(updates);
    if (this.#landscape.hasWays && inSync) {
      const borrowed = this.#options.borrowed();
      changed ||= borrowed !== this.#borrowed;
      this.#borrowed = borrowed;
    }
    if (inSync && !this.#inSync) changed = true;
    this.#inSync = inSync;
    if (changed) this.#wanted++;
    if (changed && inSync) this.#loop.trigger();
    this.#judgeOverhead();
  }

  /** The kernel may differ. */
  check(): void {
    if (this.#inSync) this.#loop.trigger();
  }

  /** Reads the kernel again. */
  recheck(): void {
    if (this.#isIdle) return;
    this.#kernel.distrust();
    this.check();
  }

  /** Bytes that a pod's packet must leave free. */
  get overheadBytes(): number {
    return this.#overhead;
  }

  /** Why not everything delivered is in the kernel; undefined when it is. Waits up to a second for that. */
  async pending(): Promise<string | undefined> {
    const goal = this.#wanted;
    for (const end = performance.now() + SETTLE_MS; this.#applied < goal && performance.now() < end; )
      await sleep(20);
    if (this.#applied < goal) return this.#failure ?? "still writing routes to other nodes";
    const [refused] = this.#kernel.refused.values();
    if (refused) return refused.message;
    return this.#awaited.length === 0 ? undefined : `no tunnel to ${this.#awaited.join(", ")} yet`;
  }

  /** What it wrote stays. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#loop.stop();
    this.#kernel.close();
  }

  async #pass(): Promise<void> {
    const goal = this.#wanted;
    if (this.#landscape.hasWays || !this.#isIdle) await this.#write();
    this.#applied = goal;
    this.#failure = undefined;
  }

  async #write(): Promise<void> {
    const { node, config } = this.#options;
    const terrain = this.#landscape.terrain(this.#borrowed);
    const now = performance.now();
    const reached = this.#handover.keep(reach(terrain), now);
    const families = FAMILIES.filter((family) => this.#keepsTunnel(family, { reached, now }));
    const refusal = await this.#hold(families);
    const self = this.#landscape.self;
    const ground = await this.#kernel.ground();
    const wanted = wantedOverlay({
      ...{ node, reached, tunnels: this.#tunnels, config: config(), ground },
      self: self && readReachable(self),
    });
    const outcomes = await this.#kernel.apply(wanted);
    await this.#publish();
    await this.#letGo(families);
    this.#awaited = awaited(reached, terrain.nodes);
    this.#isIdle = wanted.routes.size + wanted.devices.size === 0 && !this.#landscape.hasWays;
    if (this.#isIdle) this.#kernel.close();
    this.#again();
    this.#options.onApplied(outcomes);
    if (refusal) throw refusal.reason;
  }

  #keepsTunnel(family: Family, { reached, now }: { reached: readonly Reached[]; now: number }): boolean {
    const isNeeded = this.#needsTunnel(family, reached);
    if (isNeeded) this.#idleSince.delete(family);
    const since = this.#idleSince.get(family) ?? now;
    if (!isNeeded) this.#idleSince.set(family, since);
    return isNeeded || (this.#tunnels[family] !== undefined && now - since < HANDOVER_MS);
  }

  #needsTunnel(family: Family, reached: readonly Reached[]): boolean {
    if (family === 6 && !this.#options.config().ipv6Support) return false;
    const stillUsed = reached.some(({ tunnel }) => tunnel?.address.family === family);
    return stillUsed || isTunnelled(this.#landscape.pools, family);
  }

  /** Answers what one family could not get: the other's ways, and plain ones, are made all the same. */
  async #hold(families: readonly Family[]): Promise<PromiseRejectedResult | undefined> {
    const { node, ipam } = this.#options;
    const labels = this.#landscape.self?.metadata.labels ?? {};
    const request = { node, labels, pools: this.#landscape.pools, now: new Date() };
    const asked = families.map(
      async (family) => [family, await holdTunnelAddress(ipam, family, request)] as const,
    );
    const answers = await Promise.allSettled(asked);
    const held = answers.flatMap((answer) => (answer.status === "fulfilled" ? [answer.value] : []));
    this.#tunnels = Object.fromEntries(held);
    return answers.find((answer) => answer.status === "rejected");
  }

  /** The others send here once they read it: the device is there by now. */
  async #publish(): Promise<void> {
    const { node, store } = this.#options;
    const self = this.#landscape.self;
    if (!self || !published(self, this.#tunnels)) return;
    await resources(store, "Node").modify(node, undefined, (now) => published(now, this.#tunnels));
  }

  async #letGo(families: readonly Family[]): Promise<void> {
    const { node, ipam } = this.#options;
    for (const family of FAMILIES)
      if (!families.includes(family)) await ipam.release({ handle: handleOf(family, node) });
  }

  /** A refused route is tried again, and what is handed over is let go of in time. */
  #again(): void {
    clearTimeout(this.#timer);
    const isEnding = Object.keys(this.#tunnels).length > 0 && !this.#landscape.hasWays;
    if (this.#handover.isOpen || isEnding || this.#kernel.refused.size > 0)
      this.#timer = setTimeout(() => this.check(), HANDOVER_MS).unref();
  }

  /** The larger of the families', as pods have one MTU for both. */
  #judgeOverhead(): void {
    const overheads = FAMILIES.map((f) => (isTunnelled(this.#landscape.pools, f) ? OVERHEAD[f] : 0));
    const overhead = Math.max(...overheads);
    if (overhead === this.#overhead) return;
    this.#overhead = overhead;
    this.#options.onOverhead();
  }
}

/** Who has an address, but no tunnel yet: it is on its way. */
function awaited(reached: readonly Reached[], nodes: readonly ReachableNode[]): string[] {
  const byName = new Map(nodes.map((node) => [node.name, node]));
  const late = reached.filter(
    ({ wanted, node, block }) =>
      wanted === "vxlan" && addressOf(byName.get(node), block.family) !== undefined,
  );
  return [...new Set(late.map(({ node }) => node))];
}
