import { setTimeout as sleep } from "node:timers/promises";
import { affected, hostsAffected, type NodeState } from "@margay/calc";
import { formatAddress } from "@margay/net";
import {
  type Connection,
  connectionsOf,
  deleteConnections,
  listAddresses,
  markConnections,
  type Netlink,
  waysTo,
} from "@margay/netlink";
import { Loop } from "@margay/reconcile";
import { ends } from "./connections.ts";
import { type Judgement, judge } from "./flows.ts";
import type { WayTo } from "./host-flows.ts";
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
    const hasHosts = [this.#done, state].some((one) => (one?.hostEndpoints.length ?? 0) > 0); // also what has just gone
    const byHosts = isOn && hasHosts && hostsAffected(this.#since(state), state);
    const isWork = byHosts || endpoints.some(({ addresses }) => addresses.length > 0);
    if (isWork) await this.#cut(state, { endpoints, byHosts });
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

  async #cut(state: NodeState, { endpoints, byHosts }: ToJudge): Promise<void> {
    const own = (await listAddresses(this.#options.netlink)).map(({ address }) => address);
    const workloads = endpoints.flatMap((endpoint) => endpoint.addresses);
    const since = this.#since(state);
    const isForwarded = byHosts && (!since || [since, state].some(policesForwarding));
    const connections = await connectionsOf(isForwarded ? "all" : [...workloads, ...(byHosts ? own : [])]);
    if (connections.length === 0) return;
    const cutBit = renderConfig(state.config).cut;
    const asked = byHosts ? connections : connections.filter(({ mark }) => (mark & cutBit) !== 0); // others are not asked of hosts
    const wayTo = await this.#ways(state, asked);
    await this.#carryOut(judge(state, { connections, endpoints, byHosts, own, wayTo, cutBit }), cutBit);
  }

  /** With one host endpoint for all interfaces it is the same by which a connection goes, and without any. */
  async #ways({ hostEndpoints }: NodeState, connections: readonly Connection[]): Promise<WayTo> {
    if (hostEndpoints.every(({ interfaceName }) => interfaceName === "*")) return () => undefined;
    const far = new Map(connections.flatMap(ends).map((address) => [formatAddress(address), address]));
    const ways = await waysTo(this.#options.netlink, [...far.values()]);
    return (address) => ways.get(formatAddress(address));
  }

  async #carryOut({ cut, free }: Judgement, cutBit: number): Promise<void> {
    const errors = [await markConnections(cut, cutBit), await deleteConnections(free)];
    if (cut.length > 0) this.#options.onCut(cut.length);
    for (const error of errors) if (error) throw error;
  }
}

interface ToJudge extends Pick<NodeState, "endpoints"> {
  /** Whether the word of any host endpoint may be another. */
  readonly byHosts: boolean;
}

/** Whether any host endpoint has a say in what the node forwards; what is asked before NAT is asked of that too. */
const policesForwarding = ({ hostEndpoints }: NodeState): boolean =>
  hostEndpoints.some(
    ({ ok, forward, preDnat }) =>
      !ok || [forward.ingress, forward.egress, preDnat.ingress].some((tiers) => tiers.length > 0),
  );
