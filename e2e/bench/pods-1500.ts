import { type AnyResource, parse, type WorkloadEndpoint } from "@margay/api";
import { etcdStore, resources, type Store } from "@margay/datastore";
import { put } from "./cluster.ts";
import type { Inside } from "./inside.ts";
import { address4, type BenchPod, call, margay, podNamespace, timedCall } from "./plugin.ts";
import { Probe } from "./probe.ts";
import { childrenCpuMs, cpuMs, pidOf } from "./process-table.ts";
import { type Result, summary } from "./result.ts";

/** Pods that are there already when it is measured. */
const MARKS = [0, 500, 1000, 1500];
const QUICK_MARKS = [0, 100];
/** ADDs under way while the node fills up, which is not timed. */
const AT_ONCE = 8;

const deny = (name: string, selector: string): AnyResource =>
  parse({
    apiVersion: "margay.dev/v1",
    kind: "GlobalNetworkPolicy",
    metadata: { name },
    spec: { selector, types: ["Ingress"], ingress: [{ action: "Deny" }] },
  }).resource;

const DENY = deny("bench-deny", "app == 'target'");
const CLOSED = deny("bench-closed", "door == 'closed'");

/**
 * A node that fills up to fifteen hundred pods, each a namespace and a veth made through CNI ADD: what one more pod, one policy and
 * one label cost there, by how many pods there are. Time is from before the write (or the plugin's start) to the first packet
 * that is refused (or its end). The pods are left to the lab's end.
 */
export async function pods1500(inside: Inside): Promise<Result[]> {
  const { relay, etcd, quick, say } = inside;
  const store = etcdStore({ endpoints: [etcd] });
  const [from, to] = [podNamespace("many-from"), podNamespace("many-to")];
  await call(margay(relay, "n2"), from, "ADD");
  const target = address4((await call(margay(relay, "n1", { app: "target" }), to, "ADD")).result);
  await put(store, CLOSED);
  const probe = await Probe.open({ from: from.namespacePath, to: to.namespacePath, target });
  const endpoint = await endpointOf(store, to);
  const bed: Bed = { ...inside, store, probe, endpoint, node: new Filling(relay) };
  const results: Result[] = [];
  for (const pods of quick ? QUICK_MARKS : MARKS) {
    await bed.node.fill(pods);
    say(`${bed.node.count} pods`);
    results.push(...(await measure(pods, bed)));
  }
  probe.close();
  await store.close();
  return results;
}

interface Bed extends Inside {
  readonly store: Store;
  readonly probe: Probe;
  readonly endpoint: WorkloadEndpoint;
  readonly node: Filling;
}

/** The node n1, by how many pods it got. */
class Filling {
  readonly #relay: string;
  #count = 0;

  constructor(relay: string) {
    this.#relay = relay;
  }

  get count(): number {
    return this.#count;
  }

  /** Until there are so many. */
  async fill(pods: number): Promise<void> {
    const one = async () => {
      while (this.#count < pods) await this.add();
    };
    await Promise.all(Array.from({ length: AT_ONCE }, one));
  }

  /** One pod more, of one of a hundred apps. @returns ms of its ADD, without the making of its namespace */
  async add(): Promise<number> {
    const n = this.#count++;
    const pod = podNamespace(`many-${n}`);
    return (await timedCall(margay(this.#relay, "n1", { app: `a${n % 100}` }), pod, "ADD")).ms;
  }
}

async function measure(pods: number, bed: Bed): Promise<Result[]> {
  const { store, probe, node, quick, endpoint } = bed;
  const policies = resources(store, "GlobalNetworkPolicy");
  const agent = pidOf("agent");
  const n = quick ? 10 : 30;
  const subject = `with ${pods} pods`;
  const row = (benchmark: string, samples: readonly number[], atMost?: number): Result => ({
    ...{ benchmark: `pods-1500: ${benchmark}`, subject, unit: "ms", ...summary(samples) },
    ...(atMost !== undefined && { target: { of: "p99", atMost } }),
  });
  const agentSpent = () => cpuMs(agent);
  const spent = () => cpuMs(agent) + childrenCpuMs();
  const added = await timed(n, spent, () => node.add());
  const changed = await timed(n, agentSpent, () =>
    refused(
      probe,
      () => policies.apply(DENY as never), // parsed as this kind above
      () => policies.delete("bench-deny"),
    ),
  );
  const door = (is: string) => () =>
    put(store, {
      ...endpoint,
      metadata: { ...endpoint.metadata, labels: { ...endpoint.metadata.labels, door: is } },
    });
  const labelled = await timed(n, agentSpent, () => refused(probe, door("closed"), door("open")));
  return [
    row("ADD", added.ms, 100),
    row("ADD, CPU", [added.cpuMs]),
    row("policy", changed.ms, 100),
    row("policy there and gone, agent's CPU", [changed.cpuMs]),
    row("label", labelled.ms, 100),
    row("label there and gone, agent's CPU", [labelled.cpuMs]),
  ];
}

/** @returns ms from the act to the first packet that is refused; then it is undone */
async function refused(
  probe: Probe,
  act: () => Promise<unknown>,
  undo: () => Promise<unknown>,
): Promise<number> {
  await probe.untilAnswered();
  const ms = await probe.refusedAfter(act);
  await undo();
  return ms;
}

/** @returns what each run says it took, and the mean of what was spent meanwhile */
async function timed(
  n: number,
  spent: () => number,
  act: () => Promise<number>,
): Promise<{ readonly ms: readonly number[]; readonly cpuMs: number }> {
  await act(); // warm
  const before = spent();
  const ms: number[] = [];
  for (let i = 0; i < n; i++) ms.push(await act());
  return { ms, cpuMs: (spent() - before) / n };
}

/** The pod that packets go to, as the datastore has it. */
async function endpointOf(store: Store, pod: BenchPod): Promise<WorkloadEndpoint> {
  const all = await resources(store, "WorkloadEndpoint").list("bench");
  const found = all.find(({ spec }) => spec.pod === pod.name);
  if (!found) throw new Error(`no endpoint of pod ${pod.name}`);
  return found;
}
