import { setTimeout as sleep } from "node:timers/promises";
import { affected, type NodeState } from "@margay/calc";
import {
  connectionsOf,
  deleteConnections,
  listAddresses,
  markConnections,
  type Netlink,
} from "@margay/netlink";
import { Loop } from "@margay/reconcile";
import { judge } from "./flows.ts";
import { renderConfig } from "./render/index.ts";

export interface CutterOptions {
  readonly netlink: Netlink;
  readonly onCut: (count: number) => void;
  readonly onError: (error: unknown, retryInMs: number) => void;
}

/** Between two readings of the connection table: policies are cut within a second, and a busy node is not read all day. */
const PAUSE_MS = 300;

/** Resolves early when the signal aborts. */
const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  sleep(ms, undefined, { signal }).catch(() => undefined);

/**
 * Ends established connections that policy no longer allows. It marks them, and a rule drops what is marked: a connection
 * that is only deleted comes back with the next packet of the side that may still send, as the kernel takes up
 * connections in their middle (nf_conntrack_tcp_loose).
 */
export class Cutter {
  readonly #options: CutterOptions;
  readonly #loop: Loop;
  readonly #stopped = new AbortController();
  /** In the kernel, and not yet held against the connections. */
  #wanted: NodeState | undefined;
  /** The last state that connections were held against. */
  #done: NodeState | undefined;

  constructor(options: CutterOptions) {
    this.#options = options;
    this.#loop = new Loop({
      pass: () => this.#pass(),
      sleep: pause,
      onError: options.onError,
    });
  }

  /** The rules of this state are in the kernel. */
  enforced(state: NodeState): void {
    this.#wanted = state;
    this.#loop.trigger();
  }

  stop(): Promise<void> {
    this.#stopped.abort();
    return this.#loop.stop();
  }

  async #pass(): Promise<void> {
    const state = this.#wanted;
    if (!state || state === this.#done) return;
    const endpoints = state.config.cutDeniedConnections ? this.#toJudge(state) : [];
    const addresses = endpoints.flatMap((endpoint) => endpoint.addresses);
    if (addresses.length > 0) await this.#cut(state, { endpoints, addresses });
    this.#done = state;
    if (addresses.length > 0) await pause(PAUSE_MS, this.#stopped.signal);
  }

  /** Those whose policy changed. A new one has no connections yet: its address's former ones ended with the pod that had it. */
  #toJudge(state: NodeState): NodeState["endpoints"] {
    const since = this.#done?.config === state.config ? this.#done : undefined;
    const known = new Set(since?.endpoints.map(({ id }) => id));
    return affected(since, state).filter(({ id }) => !since || known.has(id));
  }

  async #cut(
    state: NodeState,
    {
      endpoints,
      addresses,
    }: Pick<NodeState, "endpoints"> & { addresses: NodeState["endpoints"][number]["addresses"] },
  ): Promise<void> {
    const connections = await connectionsOf(addresses);
    if (connections.length === 0) return;
    const own = (await listAddresses(this.#options.netlink)).map(({ address }) => address);
    const cutBit = renderConfig(state.config).cut;
    const { cut, free } = judge(state, { connections, endpoints, own, cutBit });
    const errors = [await markConnections(cut, cutBit), await deleteConnections(free)];
    if (cut.length > 0) this.#options.onCut(cut.length);
    for (const error of errors) if (error) throw error;
  }
}
