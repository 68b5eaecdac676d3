import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import type { IPPool } from "@margay/api";
import { etcdStore, resources } from "@margay/datastore";
import type { Inside } from "./inside.ts";
import { address4, call, end, margay, podNamespace } from "./plugin.ts";
import { type Result, summary } from "./result.ts";

const execute = promisify(execFile);
/** 1 B to 64 KiB: 17 sizes of what a program hands to one write. */
const SIZES = Array.from({ length: 17 }, (_, i) => 2 ** i);
const QUICK_SIZES = [1, 1024, 65_536];
/** The kernel's clock ticks of /proc/stat. */
const TICKS_PER_SECOND = 100;
const PATIENCE_MS = 15_000;

/** Where packets start, and the address they go to. */
interface Way {
  readonly name: string;
  readonly from: string;
  readonly to: string;
}

/**
 * What one TCP connection carries from node to node by message size, and what that costs: between the hosts, between pods
 * routed, and between the same pods through VXLAN. With iperf3; the processor's time is the whole machine's, both ends
 * and the kernel's share, so nothing else may run.
 */
export async function throughput({ relay, etcd, quick, say }: Inside): Promise<Result[]> {
  const [a, b] = [podNamespace("sender"), podNamespace("receiver")];
  const servers: ChildProcess[] = [];
  try {
    await call(margay(relay, "n1"), a, "ADD");
    const there = address4((await call(margay(relay, "n2"), b, "ADD")).result);
    for (const namespace of ["n2", nameOf(b.namespacePath)]) servers.push(serve(namespace));
    await delay(500);
    const host: Way = { name: "host", from: "n1", to: "172.20.0.12" };
    const pods = (name: string): Way => ({ name, from: nameOf(a.namespacePath), to: there });
    const results = await measure([host, pods("routed")], { quick, say });
    await encapsulate(etcd, "Always", { to: there, isTunnelled: true });
    results.push(...(await measure([pods("vxlan")], { quick, say })));
    await encapsulate(etcd, "Never", { to: there, isTunnelled: false });
    return results;
  } finally {
    for (const server of servers) server.kill();
    await end(margay(relay, "n1"), a);
    await end(margay(relay, "n2"), b);
  }
}

const nameOf = (namespacePath: string): string => namespacePath.split("/").at(-1) ?? "";

const serve = (namespace: string): ChildProcess =>
  spawn("ip", ["netns", "exec", namespace, "iperf3", "-s"], { stdio: "ignore" });

/** Sets the pools' mode, and waits until n1 sends so. */
async function encapsulate(
  etcd: string,
  vxlanMode: IPPool["spec"]["vxlanMode"],
  { to, isTunnelled }: { to: string; isTunnelled: boolean },
): Promise<void> {
  const store = etcdStore({ endpoints: [etcd] });
  const pools = resources(store, "IPPool");
  for (const { metadata } of await pools.list())
    await pools.modify(metadata.name, undefined, (now) => ({ ...now, spec: { ...now.spec, vxlanMode } }));
  await store.close();
  const route = () => execFileSync("ip", ["-n", "n1", "route", "get", to], { encoding: "utf8" });
  for (
    const late = performance.now() + PATIENCE_MS;
    route().includes("vxlan") !== isTunnelled;
    await delay(50)
  )
    if (performance.now() > late) throw new Error(`after ${PATIENCE_MS} ms still: ${route()}`);
  await delay(4000); // the other direction, and what is handed over
}

async function measure(
  ways: readonly Way[],
  { quick, say }: Pick<Inside, "quick" | "say">,
): Promise<Result[]> {
  const results: Result[] = [];
  for (const size of quick ? QUICK_SIZES : SIZES) {
    const samples = new Map(ways.map((way) => [way, [] as Sample[]]));
    for (
      let round = 0;
      round < (quick ? 1 : 3);
      round++ // in turn, so that a slow moment hits all
    )
      for (const [way, own] of samples) own.push(await send(way, size, quick ? 1 : 2));
    for (const [{ name }, own] of samples) {
      const of = { subject: `${name}, ${size} B` };
      const [rates, costs] = [own.map(({ mbits }) => mbits), own.map(({ cpuSeconds }) => cpuSeconds)];
      results.push({ benchmark: "throughput: rate", ...of, unit: "Mbit/s", ...summary(rates) });
      results.push({ benchmark: "throughput: CPU", ...of, unit: "s/Gbit", ...summary(costs) });
      say(`${of.subject}: ${rates.map((n) => n.toFixed(1)).join(", ")} Mbit/s`);
    }
  }
  return results;
}

interface Sample {
  readonly mbits: number;
  /** For one Gbit. */
  readonly cpuSeconds: number;
}

async function send({ from, to }: Way, size: number, seconds: number): Promise<Sample> {
  const words = ["netns", "exec", from, "iperf3", "-J", "-c", to, "-l", `${size}`, "-t", `${seconds}`];
  const before = busySeconds();
  const { stdout } = await execute("ip", words, { maxBuffer: 1 << 24 });
  const busy = busySeconds() - before;
  const { end: told } = JSON.parse(stdout) as { end: { sum_received: { bytes: number; seconds: number } } };
  const gbit = (told.sum_received.bytes * 8) / 1e9;
  return { mbits: (gbit * 1000) / told.sum_received.seconds, cpuSeconds: busy / gbit };
}

/** Of all processors since boot, all that is neither idle nor waiting for a disk (proc(5)). */
function busySeconds(): number {
  const [line = ""] = readFileSync("/proc/stat", "utf8").split("\n");
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = line.split(/\s+/).slice(1).map(Number);
  return (user + nice + system + irq + softirq) / TICKS_PER_SECOND;
}
