// IPAM of many nodes on one etcd; needs no lab. One JSON line for each result: ipam-scale.ts <full|quick>
import { loadavg } from "node:os";
import { encode, type IPAMConfiguration, type IPPool, keyOf, parse, ROOT } from "@margay/api";
import { etcdStore, type Store } from "@margay/datastore";
import { type Assignment, Ipam } from "@margay/ipam";
import { formatAddress } from "@margay/net";
import { startEtcd } from "../ipam/etcd.ts";
import { ClusterView } from "./ipam-cluster.ts";
import { type Result, summary } from "./result.ts";

/** Nodes that have a call under way at one time. */
const AT_ONCE = 64;
const PODS = 10;
const PER_RACK = 20;

const resource = <R>(kind: string, name: string, spec: object): R =>
  parse({ apiVersion: "margay.dev/v1", kind, metadata: { name }, spec }).resource as R; // of the kind asked for
const POOL = resource<IPPool>("IPPool", "default-ipv4", { cidr: "10.0.0.0/12" });
const CONFIGURATION = resource<IPAMConfiguration>("IPAMConfiguration", "default", {});

const quick = process.argv[2] === "quick";
for (const count of quick ? [100] : [250, 500, 1000])
  for (const racks of count === 1000 ? [false, true] : [false]) await measure(count, racks);
process.exit(0); // nothing is left to do

async function measure(count: number, racks: boolean): Promise<void> {
  const etcd = await startEtcd();
  const store = etcdStore({ endpoints: [etcd.endpoint] });
  const view = new ClusterView(store);
  try {
    const load = () => Math.round((loadavg()[0] ?? 0) * 10) / 10;
    const subject = `${count} nodes${racks ? `, ${PER_RACK} a rack` : ""}`;
    process.stderr.write(`  ${subject}\n`);
    for (const result of await figures(store, view, nodesOf({ store, view, count, racks })))
      process.stdout.write(`${JSON.stringify({ ...result, subject, load: load() })}\n`);
  } finally {
    await view.stop();
    await store.close();
    await etcd.remove();
  }
}

interface Cluster {
  readonly store: Store;
  readonly view: ClusterView;
  readonly count: number;
  readonly racks: boolean;
}

interface SimulatedNode {
  readonly name: string;
  readonly store: Store;
  readonly ipam: Ipam;
}

function nodesOf({ store, view, count, racks }: Cluster): SimulatedNode[] {
  const names = Array.from({ length: count }, (_, i) => `node-${i}`);
  const rackOf = new Map(racks ? names.map((name, i) => [name, `rack-${i % (count / PER_RACK)}`]) : []);
  return names.map((name) => ({
    name,
    store,
    ipam: new Ipam({
      ...{ store, node: name, blocks: view.of(name), now: () => new Date(), racks: () => rackOf },
      ...{ pools: () => [POOL], config: () => CONFIGURATION.spec, labels: () => ({}) },
    }),
  }));
}

/** First a block for each node, then the other pods. */
async function figures(
  store: Store,
  view: ClusterView,
  nodes: readonly SimulatedNode[],
): Promise<Omit<Result, "subject">[]> {
  const claims = await timed(nodes, (node) => assign(node, 0));
  const pods = Array.from({ length: PODS - 1 }, (_, i) => i + 1);
  const rest = nodes.map((node) => async () => {
    const times: number[] = [];
    for (const pod of pods) times.push(await assign(node, pod));
    return times;
  });
  const assigns = await timed(rest, (all) => all());
  const total = nodes.length * PODS;
  const { entries } = await store.list(ROOT);
  const stored = entries.reduce((sum, { key, value }) => sum + key.length + value.length, 0);
  const one = (benchmark: string, unit: Result["unit"], value: number) => ({
    benchmark,
    unit,
    ...summary([value]),
  });
  return [
    one("ipam-block-claims", "1/s", nodes.length / claims.seconds),
    { benchmark: "ipam-block-claim", unit: "ms", ...summary(claims.times) },
    one("ipam-assigns", "1/s", (total - nodes.length) / assigns.seconds),
    { benchmark: "ipam-assign", unit: "ms", ...summary(assigns.times) },
    one("ipam-bytes-stored-per-pod", "B", stored / total),
    one("ipam-bytes-written-per-pod", "B", view.bytesWritten / total),
  ];
}

/** A pod's address and endpoint, as CNI ADD writes them. @returns milliseconds */
async function assign({ name, store, ipam }: SimulatedNode, pod: number): Promise<number> {
  const started = performance.now();
  const containerID = `${name}-${pod}`.padEnd(64, "0"); // as long as a real one
  const attributes = {
    pod: `web-${pod}`,
    namespace: "default",
    node: name,
    containerID,
    timestamp: new Date().toISOString(),
  };
  const endpoint = (held: readonly Assignment[]) =>
    endpointOf({ node: name, pod: `web-${pod}`, containerID }, held);
  const request = { handle: `k8s-pod-network.${containerID}`, families: [4] as const, attributes };
  const { held, wroteAlong } = await ipam.assignWith(request, (chosen) => [
    { type: "create", ...endpoint(chosen) },
  ]);
  if (!wroteAlong) await store.put(endpoint(held).key, endpoint(held).value);
  return performance.now() - started;
}

interface SimulatedPod {
  readonly node: string;
  readonly pod: string;
  readonly containerID: string;
}

/** With what every pod of a Deployment has. */
function endpointOf({ node, pod, containerID }: SimulatedPod, held: readonly Assignment[]) {
  const metadata = {
    ...{ name: `${node}-k8s-${pod}-eth0`, namespace: "default", creationTimestamp: new Date().toISOString() },
    labels: {
      ...{ app: "web", "pod-template-hash": "5d8f7c9b6", "projectcalico.org/namespace": "default" },
      ...{ "projectcalico.org/orchestrator": "k8s", "projectcalico.org/serviceaccount": "default" },
    },
  };
  const spec = {
    ...{ orchestrator: "k8s", node, containerID, pod, endpoint: "eth0", serviceAccountName: "default" },
    ...{ interfaceName: "cali0123456789a", mac: "02:00:00:00:00:01", ipv4Gateway: "169.254.1.1" },
    ipNetworks: held.map(({ address }) => `${formatAddress(address)}/32`),
    profiles: ["kns.default", "ksa.default.default"],
  };
  const { resource } = parse({ apiVersion: "margay.dev/v1", kind: "WorkloadEndpoint", metadata, spec });
  return { key: keyOf("WorkloadEndpoint", metadata.name, "default"), value: encode(resource) };
}

/** Works the list off with so many at once. */
async function timed<T>(list: readonly T[], act: (one: T) => Promise<number | number[]>) {
  const [times, queue, started] = [[] as number[], [...list], performance.now()];
  const lane = async () => {
    for (let one = queue.shift(); one !== undefined; one = queue.shift())
      times.push(...[await act(one)].flat());
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return { times, seconds: (performance.now() - started) / 1000 };
}
