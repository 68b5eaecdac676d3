import { KubernetesError } from "@margay/kubernetes";
import { type Balanced, losersFirst } from "./balancer-addresses.ts";
import type { BalancerFacts } from "./balancer-facts.ts";
import { tellWarning } from "./events.ts";
import type { Surroundings } from "./parts.ts";

/** Tells Services their addresses, in their status, and why they have none, by an Event. */
export class BalancerStatus {
  readonly #surroundings: Pick<Surroundings, "server" | "log" | "now">;
  /** Why services have no address, as their Events say. */
  readonly #told = new Map<string, string>();

  constructor(surroundings: Pick<Surroundings, "server" | "log" | "now">) {
    this.#surroundings = surroundings;
  }

  /**
   * Each service for itself: one that fails keeps waiting only those who are to get what its status shows.
   * @returns those addresses, and the first failure
   */
  async tell(
    services: readonly BalancerFacts[],
    wanted: ReadonlyMap<string, Balanced>,
    leads: () => boolean,
  ): Promise<{ shown: ReadonlySet<string>; failure: KubernetesError | undefined }> {
    const shown = new Set<string>();
    let failure: KubernetesError | undefined;
    for (const service of losersFirst(services, wanted)) {
      const one = wanted.get(service.name);
      if (!one || !leads()) continue;
      const { current } = service;
      if (one.addresses.some((address) => shown.has(address) && !current.includes(address))) continue;
      try {
        await this.#settle(service, one);
      } catch (error) {
        if (!(error instanceof KubernetesError) || error.status === undefined) throw error; // nobody answers
        failure ??= error;
        for (const address of current) if (!one.addresses.includes(address)) shown.add(address);
      }
    }
    return { shown, failure };
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
