import { rootCertificates } from "node:tls";
import {
  type CallOptions,
  InterceptingCall,
  type Interceptor,
  type StatusObject,
  status,
} from "@grpc/grpc-js";
import { NoopPolicy } from "cockatiel";
import { Etcd3, type IOptions } from "etcd3";
import { isAuthDisabled, isEndpointDown, isStaleToken, storeError, wasNeverSent } from "./errors.ts";

export interface EtcdOptions {
  /** `http://` or `https://` with host and port, all with the same scheme. */
  readonly endpoints: readonly string[];
  /** PEM texts. Without `ca`, https trusts the public authorities. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly username?: string;
  readonly password?: string;
  /** For each call, connecting included. Default 5000. */
  readonly timeoutMs?: number;
}

interface CallFacts {
  /** For the error's text. */
  readonly key: string;
  /** May be repeated on another endpoint although the first try may have taken effect. */
  readonly idempotent: boolean;
}

/**
 * A failure in a form that etcd3 has no opinion about (see errors.ts for the way back). Known ones it would
 * answer by closing the channel, and with it grpc's backoff, so that every failed call made a new connection;
 * or by repeating a refused token for ever.
 */
function disguise(failure: StatusObject): StatusObject {
  if (failure.code === status.OK) return failure;
  const details = `${status[failure.code]}: ${failure.details.replace("etcdserver: ", "etcd says: ")}`;
  return { ...failure, code: status.FAILED_PRECONDITION, details };
}

/** A dead peer is noticed after 15 s; a refused connection is tried again after 1 to 3 s, never faster. */
const channelOptions = {
  "grpc.max_receive_message_length": -1,
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 5000,
  "grpc.initial_reconnect_backoff_ms": 1250, // grpc takes up to 20 % off
  "grpc.max_reconnect_backoff_ms": 3000,
} as const;

/**
 * etcd3 (the npm package) with its known faults kept out:
 * - its retries repeat writes that may have taken effect, and its circuit breaker refuses calls to a healthy
 *   server: both are off, `call` repeats only what is safe;
 * - its authenticator leaks a connection per log-in: we fetch the token and add it ourselves;
 * - a failed call makes it drop its channels, or repeat a refused token without end: it is not told
 *   (`disguise`);
 * - messages over 4 MB and calls without a deadline: set below.
 * Reconnecting is left to grpc, at most once a second.
 */
export class EtcdClient {
  readonly timeoutMs: number;
  readonly #options: EtcdOptions;
  readonly #clients: readonly Etcd3[];
  /** All calls go to one endpoint until it fails. */
  #current = 0;
  #token: string | undefined;
  #loggingIn: { readonly index: number; readonly done: Promise<void> } | undefined;

  constructor(options: EtcdOptions) {
    this.#options = options;
    this.timeoutMs = options.timeoutMs ?? 5000;
    this.#clients = options.endpoints.map((endpoint) => new Etcd3(this.#etcd3Options(endpoint)));
  }

  /** One call, moved to the next endpoint when that is safe. Throws `StoreError`. */
  async call<T>(facts: CallFacts, op: (etcd: Etcd3) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      const index = this.#current;
      try {
        await this.#login(index);
        return await op(this.#client(index));
      } catch (error) {
        this.failed(index, error);
        const safe = facts.idempotent || wasNeverSent(error);
        const again = isStaleToken(error)
          ? tries === 1
          : isEndpointDown(error) && safe && tries < this.#clients.length;
        if (!again) throw this.explain(error, { index, key: facts.key });
      }
    }
  }

  /** The client to open a stream with, and its index for `failed` and `explain`. */
  async forStream(): Promise<{ etcd: Etcd3; index: number }> {
    const index = this.#current;
    try {
      await this.#login(index);
      return { etcd: this.#client(index), index };
    } catch (error) {
      this.failed(index, error);
      throw error;
    }
  }

  /** Draws the conclusions from an error: another endpoint, another token. */
  failed(index: number, error: unknown): void {
    if (isStaleToken(error)) this.#token = undefined;
    if (!isEndpointDown(error) || index !== this.#current) return;
    this.#current = (index + 1) % this.#clients.length;
  }

  /** A watch without permission may as well be a watch with an old token: etcd does not say which. */
  forgetToken(): void {
    this.#token = undefined;
  }

  explain(error: unknown, { index, key }: { index?: number; key?: string } = {}) {
    const { endpoints, username } = this.#options;
    const endpoint = endpoints[index ?? this.#current] ?? "";
    return storeError(error, { endpoint, username, timeoutMs: this.timeoutMs, key });
  }

  close(): void {
    for (const client of this.#clients) client.close();
  }

  #client(index: number): Etcd3 {
    return this.#clients[index] as Etcd3; // `index` was #current, which stays below the length
  }

  /** One at a time for all who wait at an endpoint: comparing a password costs etcd a tenth of a second of computing. */
  async #login(index: number): Promise<void> {
    if (this.#options.username === undefined || this.#token !== undefined) return;
    if (this.#loggingIn?.index !== index) this.#loggingIn = { index, done: this.#fetchToken(index) };
    const loggingIn = this.#loggingIn;
    await loggingIn.done.finally(() => {
      if (this.#loggingIn === loggingIn) this.#loggingIn = undefined;
    });
  }

  async #fetchToken(index: number): Promise<void> {
    const { username: name = "", password = "" } = this.#options;
    try {
      this.#token = (await this.#client(index).auth.authenticate({ name, password })).token;
    } catch (error) {
      if (!isAuthDisabled(error)) throw error;
      this.#token = "";
    }
  }

  #etcd3Options(endpoint: string): IOptions {
    const { ca = rootCertificates.join("\n"), cert, key } = this.#options;
    const clientPair =
      cert !== undefined && key !== undefined
        ? { certChain: Buffer.from(cert), privateKey: Buffer.from(key) }
        : {};
    const interceptors = [this.#interceptor];
    return {
      hosts: endpoint,
      ...(endpoint.startsWith("https:")
        ? { credentials: { rootCertificate: Buffer.from(ca), ...clientPair } }
        : {}),
      grpcOptions: channelOptions,
      defaultCallOptions: ({ isStream }): CallOptions =>
        isStream ? { interceptors } : { interceptors, deadline: Date.now() + this.timeoutMs },
      faultHandling: { host: () => new NoopPolicy(), global: new NoopPolicy() },
    };
  }

  /**
   * Adds the token and etcd's "hasleader" (a member cut off from its leader then ends our streams instead of
   * going silent).
   */
  readonly #interceptor: Interceptor = (options, nextCall) =>
    new InterceptingCall(nextCall(options), {
      start: (metadata, _listener, next) => {
        metadata.set("hasleader", "true");
        if (this.#token) metadata.set("token", this.#token);
        next(metadata, { onReceiveStatus: (status, pass) => pass(disguise(status)) });
      },
    });
}
