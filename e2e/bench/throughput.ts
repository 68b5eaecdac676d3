import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { type IPPool, parse } from "@margay/api";
import { etcdStore, resources } from "@margay/datastore";
import type { Inside } from "./inside.ts";
import { address4, call, end, margay, podNamespace } from "./plugin.ts";
import { type Result, summary } from "./result.ts";
import { type Rates, shape } from "./throughput-shape.ts";

const execute = promisify(execFile);
/** 1 B to 64 KiB: 17 sizes of what a program hands to one write. */
const SIZES = Array.from({ length: 17 }, (_, i) => 2 ** i);
const QUICK_SIZES = [1, 1024, 65_536];
/** The kernel's clock ticks of /proc/stat. */
const TICKS_PER_SECOND = 100;
const PATIENCE_MS = 15_000;

/** Rounds for each size; of their rates the median counts. */
const ROUNDS = 5;
/**
 * What else differs from run to run is fixed: which processors the two ends are on, their buffers, which the kernel would let grow,
 * and that each message goes out by itself (TCP_NODELAY and no corking). Else the kernel joins small ones for as long as the other
 * end has not answered, and of two ways the slower one joins more.
 */
const SHAPE = ["-A", "0,1", "-w", "256K", "-N"];
const UNCORKED = ["sysctl", "-qw", "net.ipv4.tcp_autocorking=0"];
/** Of the uplink: pods whose packets are not encapsulated have it, too. */
const MTU = 1500;
const TUNNELLED = "bench-vxlan";

/** Where packets start, and the address they go to. */
interface Way {
  readonly name: string;
  readonly from: string;
  readonly to: string;
}

/**
 * What one TCP connection carries from node to node by message size, and what that costs: between the hosts, between pods
 * routed, and between pods of a pool with VXLAN; in turn, so that a slow moment hits all. With iperf3; the processor's time is the
 * whole machine's, both ends and the kernel's share, so nothing else may run.
 */
export async function throughput({ relay, etcd, quick, say }: Inside): Promise<Result[]> {
  const store = etcdStore({ endpoints: [etcd] });
  const pools = resources(store, "IPPool");
  const made: (() => Promise<unknown>)[] = [];
  const servers: ChildProcess[] = [];
  const pair = async (name: string, more: object): Promise<Way> => {
    const [from, to] = [podNamespace(`${name}-a`), podNamespace(`${name}-b`)];
    const results = [];
    for (const [node, pod] of [
      ["n1", from],
      ["n2", to],
    ] as const) {
      const plugin = { ...margay(relay, node) };
      const asked = { ...plugin, configuration: { ...plugin.configuration, ...more } };
      results.push(await call(asked, pod, "ADD"));
      made.push(() => end(asked, pod));
    }
    servers.push(serve(nameOf(to.namespacePath)));
    return { name, from: nameOf(from.namespacePath), to: address4(results[1]?.result ?? "") };
  };
  try {
    await pools.create(tunnelled);
    made.push(() => pools.delete(TUNNELLED));
    servers.push(serve("n2"));
    const annotations = {
      "cni.projectcalico.org/ipv4pools": JSON.stringify([TUNNELLED]),
      "cni.projectcalico.org/ipFamilies": '["IPv4"]',
    };
    const ways: Way[] = [
      { name: "host", from: "n1", to: "172.20.0.12" },
      await pair("routed", { mtu: MTU }),
      await pair("vxlan", { args: { cni: { annotations } } }),
    ];
    for (const { from } of ways) await execute("ip", ["netns", "exec", from, ...UNCORKED]);
    await tunnelledTo(ways[2]?.to ?? "");
    return await measure(ways, { quick, say });
  } finally {
    for (const server of servers) server.kill();
    for (const undo of made.reverse()) await undo();
    await store.close();
    await delay(4000); // for the agents to hand back what VXLAN needed
  }
}

const tunnelled = parse({
  ...{ apiVersion: "margay.dev/v1", kind: "IPPool", metadata: { name: TUNNELLED } },
  spec: { cidr: "10.245.0.0/16", vxlanMode: "Always", assignmentMode: "Manual", natOutgoing: true },
}).resource as IPPool; // of the kind that is written here

const nameOf = (namespacePath: string): string => namespacePath.split("/").at(-1) ?? "";

const serve = (namespace: string): ChildProcess =>
  spawn("ip", ["netns", "exec", namespace, "iperf3", "-s"], { stdio: "ignore" });

/** Waits until both nodes send through the tunnel. */
async function tunnelledTo(to: string): Promise<void> {
  const route = () => execFileSync("ip", ["-n", "n1", "route", "get", to], { encoding: "utf8" });
  const late = performance.now() + PATIENCE_MS;
  for (; !route().includes("vxlan"); await delay(50))
    if (performance.now() > late) throw new Error(`after ${PATIENCE_MS} ms still: ${route()}`);
  await delay(4000); // the other direction
}

async function measure(
  ways: readonly Way[],
  { quick, say }: Pick<Inside, "quick" | "say">,
): Promise<Result[]> {
  const results: Result[] = [];
  const curve: Rates[] = [];
  for (const size of quick ? QUICK_SIZES : SIZES) {
    const samples = new Map(ways.map((way) => [way, [] as Sample[]]));
    for (let round = 0; round < (quick ? 1 : ROUNDS); round++)
      for (const [way, own] of samples) own.push(await send(way, size));
    const median = new Map<string, number>();
    for (const [{ name }, own] of samples) {
      const of = { subject: `${name}, ${size} B` };
      const [rates, costs] = [own.map(({ mbits }) => mbits), own.map(({ cpuSeconds }) => cpuSeconds)];
      const resent = own.map(({ retransmits }) => retransmits);
      const rate = summary(rates);
      median.set(name, rate.p50);
      results.push({ benchmark: "throughput: rate", ...of, unit: "Mbit/s", ...rate });
      results.push({ benchmark: "throughput: CPU", ...of, unit: "s/Gbit", ...summary(costs) });
      say(`${of.subject}: ${rates.map((n) => n.toFixed(1)).join(", ")} Mbit/s, resent ${resent.join(", ")}`);
    }
    const [host = 0, routed = 0, vxlan = 0] = ["host", "routed", "vxlan"].map((name) => median.get(name));
    curve.push({ bytes: size, host, routed, vxlan });
  }
  return [...results, ...shape(curve)];
}

interface Sample {
  readonly mbits: number;
  /** For one Gbit. */
  readonly cpuSeconds: number;
  /** Segments sent again. Nothing is lost between two ends of one machine: the processors were busy otherwise. */
  readonly retransmits: number;
}

/** One second. */
async function send({ from, to }: Way, size: number): Promise<Sample> {
  const shape = ["-l", `${size}`, ...SHAPE, "-t", "1"];
  const words = ["netns", "exec", from, "iperf3", "-J", "-c", to, ...shape];
  const before = busySeconds();
  const { stdout } = await execute("ip", words, { maxBuffer: 1 << 24 });
  const busy = busySeconds() - before;
  const { sum_received, sum_sent } = (JSON.parse(stdout) as Told).end;
  const gbit = (sum_received.bytes * 8) / 1e9;
  const mbits = (gbit * 1000) / sum_received.seconds;
  return { mbits, cpuSeconds: busy / gbit, retransmits: sum_sent.retransmits };
}

interface Told {
  readonly end: {
    readonly sum_received: { readonly bytes: number; readonly seconds: number };
    readonly sum_sent: { readonly retransmits: number };
  };
}

/** Of all processors since boot, all that is neither idle nor waiting for a disk (proc(5)). */
function busySeconds(): number {
  const [line = ""] = readFileSync("/proc/stat", "utf8").split("\n");
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = line.split(/\s+/).slice(1).map(Number);
  return (user + nice + system + irq + softirq) / TICKS_PER_SECOND;
}
