import { type IPPool, kindPrefix } from "@margay/api";
import { type Entry, resourceOf } from "@margay/datastore";
import type { ListWatch } from "@margay/kubernetes";
import { Loop } from "@margay/reconcile";
import { type Balanced, type BalancerFacts, balance } from "./balancer-addresses.ts";
import { tellWarning } from "./events.ts";
import { Mirror } from "./mirror.ts";
import type { Controller, Surroundings } from "./parts.ts";
import type { ServiceFacts } from "./services.ts";

/**
 * Addresses for Services of type LoadBalancer, written to their status. Where no pool is for load balancers nothing is
 * touched: somebody else's controller may be at work.
 */
export class LoadBalancers implements Controller {
  readonly name = "load-balancers";
  readonly #surroundings: Surroundings;
  readonly #services: ListWatch<ServiceFacts>;
  readonly #pools: Mirror<Entry>;
  readonly #loop: Loop;
  #leads = false;
  /** Why services have no address, as their Events say. */
  readonly #told = new Map<string, string>();

  constructor(surroundings: Surroundings, services: ListWatch<ServiceFacts>) {
    this.#surroundings = surroundings;
    this.#services = services;
    const { store, sleep, random, log } = surroundings;
    this.#loop = new Loop({
      pass: () => this.#pass(),
      sleep,
      onError: (error, retryInMs) =>
        log.warn({ event: "not-balanced", err: error, retryInMs }, `load balancers: ${String(error)}`),
    });
    this.#pools = new Mirror<Entry>({
      ...{ store, log, sleep, random, prefix: kindPrefix("IPPool"), keep: (entry) => entry },
      onChange: () => this.changed(),
    });
  }

  start(): Promise<unknown> {
    return this.#pools.start();
  }

  readonly waitsFor = (): string | undefined => this.#pools.waitsFor("IPPools");

  /** A Service, or a pool, is another one. */
  changed(): void {
    if (this.#leads) this.#loop.trigger();
  }

  lead(): void {
    this.#leads = true;
    this.changed();
  }

  async follow(): Promise<void> {
    this.#leads = false;
    await this.settled();
  }

  settled(): Promise<void> {
    return this.#loop.settled();
  }

  async stop(): Promise<void> {
    this.#leads = false;
    await this.#loop.stop();
    await this.#pools.stop();
  }

  async #pass(): Promise<void> {
    if (!this.#leads || !this.#services.synced || !this.#pools.synced) return;
    const pools = [...this.#pools.entries()].map(([, entry]) => resourceOf(entry) as IPPool); // its key says so
    if (!pools.some(({ spec }) => spec.allowedUses.includes("LoadBalancer"))) return;
    const services = [...this.#services.entries()].flatMap(([, { balancer }]) => balancer ?? []);
    const wanted = balance(services, pools);
    for (const service of services) {
      const one = wanted.get(service.name);
      if (one && this.#leads) await this.#settle(service, one);
    }
  }

  async #settle(service: BalancerFacts, { addresses, refused }: Balanced): Promise<void> {
    const { server, log, now } = this.#surroundings;
    const [namespace = "", name = ""] = service.name.split("/");
    if (addresses.join() !== service.current.join()) {
      const ingress = addresses.map((ip) => ({ ip, ipMode: "VIP" }));
      const body = {
        ...(service.version && { metadata: { resourceVersion: service.version } }), // it may have changed since
        status: { loadBalancer: { ingress } },
      };
      await server.call({
        method: "PATCH",
        path: `/api/v1/namespaces/${namespace}/services/${name}/status`,
        body,
      });
      log.info(
        { event: "load-balancer", service: service.name, addresses },
        `${service.name} has its addresses`,
      );
    }
    if (this.#told.get(service.name) === refused) return;
    if (refused === undefined) return void this.#told.delete(service.name);
    const about = { apiVersion: "v1", kind: "Service", name, namespace, uid: service.uid };
    await tellWarning(server, about, { reason: "NoAddress", message: refused, now: now() });
    this.#told.set(service.name, refused);
  }
}
