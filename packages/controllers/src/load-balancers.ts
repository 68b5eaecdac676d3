import { type IPPool, type IPReservation, kindPrefix } from "@margay/api";
import { type Entry, resourceOf } from "@margay/datastore";
import { type Block, isEmpty } from "@margay/ipam";
import type { KubernetesObject, ListWatch } from "@margay/kubernetes";
import { contains, parsePrefix } from "@margay/net";
import { Loop } from "@margay/reconcile";
import { balance, holdersOf } from "./balancer-addresses.ts";
import {
  blockIn,
  blockKey,
  blockText,
  cidrOf,
  given,
  type Holders,
  holdersIn,
  isBalancerText,
  newBalancerBlock,
  taken,
} from "./balancer-blocks.ts";
import { balancerFacts } from "./balancer-facts.ts";
import { BalancerStatus } from "./balancer-status.ts";
import { Mirror } from "./mirror.ts";
import type { Controller, Surroundings } from "./parts.ts";
import { amend } from "./put.ts";
import type { ServiceFacts } from "./services.ts";

/**
 * Addresses for Services of type LoadBalancer: given out in blocks, then written to the services' status. Where no pool is for
 * load balancers nothing is touched: somebody else's controller may be at work.
 *
 *     services, pools, blocks ─► balance ─► blocks: who gets one has it ─► status ─► blocks: who is gone has none
 *
 * Whoever is interrupted begins again with the same answer: a block's word comes first, then a status's.
 */
export class LoadBalancers implements Controller {
  readonly name = "load-balancers";
  readonly #surroundings: Surroundings;
  readonly #services: ListWatch<ServiceFacts>;
  readonly #ourClass: string;
  readonly #pools: Mirror<Entry>;
  readonly #reservations: Mirror<Entry>;
  /** Only load balancers' blocks are kept. */
  readonly #blocks: Mirror<Entry | undefined>;
  readonly #ours = new Set<string>();
  readonly #loop: Loop;
  /** Until the last pass has ended. */
  #passing: Promise<void> = Promise.resolve();
  #leads = false;
  readonly #status: BalancerStatus;

  constructor(
    surroundings: Surroundings,
    { services, ourClass }: { services: ListWatch<ServiceFacts>; ourClass: string },
  ) {
    this.#surroundings = surroundings;
    this.#status = new BalancerStatus(surroundings);
    this.#services = services;
    this.#ourClass = ourClass;
    const { store, sleep, random, log, troubles } = surroundings;
    this.#loop = new Loop({
      pass: () => {
        const pass = this.#pass();
        this.#passing = pass.catch(() => {}); // told by onError
        return pass;
      },
      sleep,
      onError: (error, retryInMs) => {
        if (!troubles.begin(this.name, error))
          log.warn({ event: "not-balanced", err: error, retryInMs }, `load balancers: ${String(error)}`);
      },
    });
    const common = { store, troubles, sleep, random };
    this.#pools = new Mirror<Entry>({
      ...{ ...common, prefix: kindPrefix("IPPool"), keep: (entry) => entry },
      onChange: () => this.changed(),
    });
    this.#reservations = new Mirror<Entry>({
      ...{ ...common, prefix: kindPrefix("IPReservation"), keep: (entry) => entry },
      onChange: () => this.changed(),
    });
    this.#blocks = new Mirror<Entry | undefined>({
      ...{ ...common, prefix: kindPrefix("IPAMBlock") },
      keep: (entry) => (isBalancerText(entry.value) ? entry : undefined),
      onChange: (keys, first) => {
        if (this.#areOurs(keys) || first) this.changed();
      },
    });
  }

  start(): Promise<unknown> {
    return Promise.all(this.#mirrors().map((one) => one.start()));
  }

  readonly waitsFor = (): string | undefined =>
    this.#pools.waitsFor("IPPools") ??
    this.#blocks.waitsFor("IPAMBlocks") ??
    this.#reservations.waitsFor("IPReservations");

  #mirrors() {
    return [this.#pools, this.#blocks, this.#reservations];
  }

  /** A Service, a pool or a block is another one. */
  changed(): void {
    if (this.#leads) this.#loop.trigger();
  }

  lead(): void {
    this.#leads = true;
    this.changed();
  }

  async follow(): Promise<void> {
    this.#leads = false;
    await this.#passing; // not the pause after one that failed
  }

  settled(): Promise<void> {
    return this.#loop.settled();
  }

  async stop(): Promise<void> {
    this.#leads = false;
    await this.#loop.stop();
    await Promise.all(this.#mirrors().map((one) => one.stop()));
  }

  /** Nodes write theirs at every pod. */
  #areOurs(keys: readonly string[]): boolean {
    let any = false;
    for (const key of keys) {
      const isOurs = this.#blocks.get(key) !== undefined;
      any ||= isOurs || this.#ours.has(key);
      if (isOurs) this.#ours.add(key);
      else this.#ours.delete(key);
    }
    return any;
  }

  async #pass(): Promise<void> {
    if (!this.#leads || !this.#services.synced || this.waitsFor() !== undefined) return;
    const all = [...this.#pools.entries()].map(([, entry]) => resourceOf(entry) as IPPool); // its key says so
    const pools = all.filter(({ spec }) => spec.allowedUses.includes("LoadBalancer"));
    const blocks = [...this.#ours].flatMap((key) => {
      const entry = this.#blocks.get(key);
      return entry ? blockIn(key, entry.value) : [];
    });
    if (pools.length === 0 && blocks.length === 0) return;
    const services = [...this.#services.entries()].flatMap(([, { balancer }]) => balancer ?? []);
    const former = holdersIn(blocks);
    const reserved = [...this.#reservations.entries()].flatMap(([, entry]) =>
      (resourceOf(entry) as IPReservation).spec.reservedCIDRs.map((text) =>
        parsePrefix(text, { mask: true }),
      ),
    );
    const standing = blocks.map(({ cidr }) => parsePrefix(cidr));
    const wanted = balance(services, all, { former, reserved, blocks: standing });
    const holders = holdersOf(wanted);
    await this.#give(holders, { pools, blocks });
    const { shown, failure } = await this.#status.tell(services, wanted, () => this.#leads);
    await this.#take({ former, holders, pools, shown });
    if (failure) throw failure;
    this.#surroundings.troubles.end(this.name);
  }

  /** Before anybody is told of it: an address is a service's once its block says so. */
  async #give(
    holders: Holders,
    { pools, blocks }: { pools: readonly IPPool[]; blocks: readonly Block[] },
  ): Promise<void> {
    const cidrs = new Set([...holders.keys()].map((text) => cidrOf(text, pools, blocks)));
    const { now } = this.#surroundings;
    for (const cidr of cidrs) {
      if (!this.#leads) return;
      const key = blockKey(cidr);
      await this.#amend(key, (block) => given(block ?? newBalancerBlock(cidr, now()), holders, now()));
    }
  }

  /** What nobody wants any more and whose services provably do not have it; empty blocks of no pool go. */
  async #take({
    former,
    holders,
    pools,
    shown,
  }: {
    readonly former: Holders;
    readonly holders: Holders;
    readonly pools: readonly IPPool[];
    /** Stay, whoever is to have them. */
    readonly shown: ReadonlySet<string>;
  }): Promise<void> {
    const gone = new Set<string>();
    for (const [address, services] of former)
      if (!holders.has(address) && !shown.has(address) && (await this.#areGone(services))) gone.add(address);
    const ranges = pools.map(({ spec }) => parsePrefix(spec.cidr));
    for (const key of [...this.#ours]) {
      if (!this.#leads) return;
      await this.#amend(key, (block) => {
        const after = block && taken(block, gone, this.#surroundings.now());
        const isOver =
          after && isEmpty(after) && !ranges.some((one) => contains(one, parsePrefix(after.cidr)));
        return isOver ? null : after;
      });
    }
  }

  async #amend(key: string, step: (block: Block | undefined) => Block | null | undefined): Promise<void> {
    await amend(this.#surroundings, this.#blocks, {
      ...{ key, seen: { entry: this.#blocks.get(key) } },
      step: (entry) => {
        const before = entry && blockIn(key, entry.value);
        const after = step(before);
        return after === before ? undefined : after && blockText(after);
      },
    });
  }

  /** The API server itself is asked of those that the cache does not have: what is freed is free. No name: no proof. */
  async #areGone(services: readonly string[]): Promise<boolean> {
    for (const service of services) {
      if (this.#services.get(service)?.balancer) continue; // it is here, and has been told another address
      const [namespace, name] = service.split("/");
      const list = (await this.#surroundings.server.call({
        path: `/api/v1/namespaces/${namespace}/services`,
        query: { fieldSelector: `metadata.name=${name}` },
      })) as { items?: KubernetesObject[] };
      if (list.items?.some((one) => balancerFacts(one, this.#ourClass))) return false;
    }
    return services.length > 0;
  }
}
