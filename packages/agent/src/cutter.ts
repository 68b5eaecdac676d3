import { setTimeout as sleep } from "node:timers/promises";
import { affected, hostsAffected, type NodeState } from "@margay/calc";
import { type Address, formatAddress } from "@margay/net";
import {
  type Connection,
  connectionsOf,
  deleteConnections,
  listAddresses,
  markConnections,
  type Netlink,
} from "@margay/netlink";
import { Loop } from "@margay/reconcile";
import { type Judgement, judge } from "./flows.ts";
import { judgeHosts } from "./host-flows.ts";
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
    const isOn = state.config.cutDeniedConnections;
    const endpoints = isOn ? this.#toJudge(state) : [];
    const isHosts = isOn && state.hostEndpoints.length > 0 && hostsAffected(this.#since(state), state);
    const isWork = isHosts || endpoints.some(({ addresses }) => addresses.length > 0);
    if (isWork) await this.#cut(state, { endpoints, isHosts });
    this.#done = state;
    if (isWork) await pause(PAUSE_MS, this.#stopped.signal);
  }

  /** With other settings nothing that was judged counts. */
  #since(state: NodeState): NodeState | undefined {
    return this.#done?.config === state.config ? this.#done : undefined;
  }

  /** Those whose policy changed. A new one has no connections yet: its address's former ones were forgotten when it got it. */
  #toJudge(state: NodeState): NodeState["endpoints"] {
    const since = this.#since(state);
    const known = new Set(since?.endpoints.map(({ id }) => id));
    return affected(since, state).filter(({ id }) => !since || known.has(id));
  }

  async #cut(state: NodeState, { endpoints, isHosts }: ToJudge): Promise<void> {
    const own = (await listAddresses(this.#options.netlink)).map(({ address }) => address);
    const workloads = endpoints.flatMap((endpoint) => endpoint.addresses);
    const connections = await connectionsOf([...workloads, ...(isHosts ? own : [])]);
    if (connections.length === 0) return;
    const cutBit = renderConfig(state.config).cut;
    const of = touching(connections, workloads);
    const judged = [
      judge(state, { connections: of.those, endpoints, own, cutBit }),
      ...(isHosts ? [judgeHosts(state, { connections: of.others, own, cutBit })] : []),
    ];
    await this.#carryOut(judged, cutBit);
  }

  async #carryOut(judged: readonly Judgement[], cutBit: number): Promise<void> {
    const [cut, free] = [judged.flatMap((one) => one.cut), judged.flatMap((one) => one.free)];
    const errors = [await markConnections(cut, cutBit), await deleteConnections(free)];
    if (cut.length > 0) this.#options.onCut(cut.length);
    for (const error of errors) if (error) throw error;
  }
}

interface ToJudge extends Pick<NodeState, "endpoints"> {
  readonly isHosts: boolean;
}

/** The connections with an end among the addresses, before translation or after, and the others. */
function touching(connections: readonly Connection[], addresses: readonly Address[]) {
  const texts = new Set(addresses.map(formatAddress));
  const groups = Map.groupBy(connections, ({ original, reply }) =>
    [original, reply].some(({ source, destination }) =>
      [source, destination].some((address) => texts.has(formatAddress(address))),
    ),
  );
  return { those: groups.get(true) ?? [], others: groups.get(false) ?? [] };
}
