import type { ApiServer } from "./api-server.ts";
import { KubernetesError } from "./errors.ts";

export interface LeaderOptions {
  readonly server: ApiServer;
  readonly namespace: string;
  /** Of the Lease. */
  readonly name: string;
  /** Of this process: unique among all candidates, such as the pod's name. */
  readonly identity: string;
  /**
   * Told with every change. Whoever is told false begins to write nothing more, and resolves when nothing is under way: until then
   * the Lease is neither given back nor asked for again.
   */
  readonly onChange: (leads: boolean) => void | Promise<void>;
  readonly onError: (error: unknown) => void;
  /** The API server has answered: what was told to `onError` is over. */
  readonly onAnswer?: () => void;
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
  /** For people who read the Lease; nothing is decided by it. */
  readonly wallClock: () => Date;
}

/**
 * Whoever has not renewed for so long is taken to be dead. A dead leader's last renewal is seen RETRY_MS later, and its end
 * noticed another RETRY_MS later: a takeover takes 14 s at most.
 */
const LEASE_SECONDS = 10;
const RETRY_MS = 2000;
/** Each try is two calls. */
const CALL_MS = 1500;
/** Who fails to renew after so long lets go: 7 s after the last renewal at the latest, before another may take over. */
const LET_GO_MS = 4000;

interface Lease {
  readonly metadata: { readonly name: string; readonly resourceVersion?: string };
  readonly spec?: {
    readonly holderIdentity?: string;
    readonly leaseDurationSeconds?: number;
    readonly renewTime?: string;
    readonly leaseTransitions?: number;
    readonly acquireTime?: string;
  };
}

/**
 * One leader among several processes, by a Lease of coordination.k8s.io. Clocks are not compared: a holder is dead when
 * its Lease has stood still for its duration by the watcher's own clock.
 */
export class Leader {
  readonly #options: LeaderOptions;
  readonly #stop = new AbortController();
  /** The Lease as it last was, and since when it has been so. */
  #seen: { readonly version: string | undefined; readonly at: number } | undefined;
  #renewedAt = Number.NEGATIVE_INFINITY;
  #leads = false;
  #running: Promise<void> | undefined;

  constructor(options: LeaderOptions) {
    this.#options = options;
  }

  get leads(): boolean {
    return this.#leads;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Gives the Lease back, so that another takes over with its next try. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    if (!this.#leads) return;
    await this.#become(false);
    await this.#release().catch(this.#options.onError); // then it runs out
  }

  async #run(): Promise<void> {
    const { sleep, onError, onAnswer, now } = this.#options;
    while (!this.#stop.signal.aborted) {
      try {
        await this.#become(await this.#try());
        onAnswer?.();
      } catch (error) {
        onError(error);
        if (now() - this.#renewedAt > LET_GO_MS) await this.#become(false);
      }
      await sleep(RETRY_MS, this.#stop.signal);
    }
  }

  async #become(leads: boolean): Promise<void> {
    if (this.#leads === leads) return;
    this.#leads = leads;
    await this.#options.onChange(leads);
  }

  /** Whether the Lease is ours now. */
  async #try(): Promise<boolean> {
    const { identity, now } = this.#options;
    const lease = await this.#read();
    if (lease === undefined) return this.#write(undefined);
    const { holderIdentity, leaseDurationSeconds = LEASE_SECONDS } = lease.spec ?? {};
    const version = lease.metadata.resourceVersion;
    if (this.#seen?.version !== version) this.#seen = { version, at: now() };
    const stoodStillMs = now() - (this.#seen?.at ?? 0);
    const isFree =
      !holderIdentity || holderIdentity === identity || stoodStillMs > leaseDurationSeconds * 1000;
    return isFree && this.#write(lease);
  }

  async #read(): Promise<Lease | undefined> {
    try {
      return (await this.#options.server.call({ path: this.#path(), timeoutMs: CALL_MS })) as Lease;
    } catch (error) {
      if (error instanceof KubernetesError && error.code === "not-found") return undefined;
      throw error;
    }
  }

  /** False when somebody was faster. */
  async #write(now: Lease | undefined): Promise<boolean> {
    const { server, name, namespace, identity, wallClock } = this.#options;
    const time = microTime(wallClock());
    const isMine = now?.spec?.holderIdentity === identity;
    const { leaseTransitions = 0, acquireTime = time } = now?.spec ?? {};
    const spec = {
      ...{ holderIdentity: identity, leaseDurationSeconds: LEASE_SECONDS, renewTime: time },
      ...(isMine
        ? { acquireTime, leaseTransitions }
        : { acquireTime: time, leaseTransitions: now ? leaseTransitions + 1 : 0 }),
    };
    const begun = this.#options.now();
    const body = { ...KIND, metadata: { ...now?.metadata, name, namespace }, spec };
    try {
      const call = { body, timeoutMs: CALL_MS };
      const written = now
        ? await server.call({ ...call, method: "PUT", path: this.#path() })
        : await server.call({ ...call, method: "POST", path: this.#path("") });
      this.#seen = { version: (written as Lease).metadata.resourceVersion, at: begun };
      this.#renewedAt = begun;
      return true;
    } catch (error) {
      if (error instanceof KubernetesError && (error.code === "conflict" || error.code === "exists"))
        return false;
      throw error;
    }
  }

  async #release(): Promise<void> {
    const { server, identity } = this.#options;
    const lease = await this.#read();
    if (lease?.spec?.holderIdentity !== identity) return;
    const spec = { ...lease.spec, holderIdentity: "", leaseDurationSeconds: 1 };
    await server.call({ method: "PUT", path: this.#path(), body: { ...lease, spec }, timeoutMs: CALL_MS });
  }

  #path(name = `/${this.#options.name}`): string {
    return `/apis/coordination.k8s.io/v1/namespaces/${this.#options.namespace}/leases${name}`;
  }
}

const KIND = { apiVersion: "coordination.k8s.io/v1", kind: "Lease" };

/** meta/v1 MicroTime. */
const microTime = (date: Date): string => date.toISOString().replace("Z", "000Z");
