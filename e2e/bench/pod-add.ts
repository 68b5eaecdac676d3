import { setTimeout as delay } from "node:timers/promises";
import { deleteNamespace } from "@margay/netlink";
import type { Inside } from "./inside.ts";
import {
  type BenchPod,
  call,
  end,
  margay,
  type Plugin,
  podNamespace,
  reference,
  timedCall,
} from "./plugin.ts";
import { childrenCpuMs, cpuMs, pidOf } from "./process-table.ts";
import { type Result, summary } from "./result.ts";

/** Deleting a network namespace goes on in the kernel, under the lock that every ADD needs. */
const CLEANUP_MS = 2000;

/** Pods that come and go on a node whose agent has just started, and how often: it runs for weeks, and V8 compiles what it does often. */
const FRESH = 20;
const ROUNDS = 12;

/** What the first pods take of an agent that has just started; it has worked itself in then. */
async function fresh(plugin: Plugin, { quick, say }: Inside): Promise<Result[]> {
  const pods = namespaces("fresh", FRESH);
  const times: number[] = [];
  for (let round = 0; round < (quick ? 2 : ROUNDS); round++) {
    for (const pod of pods) {
      const { ms } = await timedCall(plugin, pod, "ADD");
      if (round === 0) times.push(ms);
    }
    for (const pod of pods) await call(plugin, pod, "DEL");
    await delay(CLEANUP_MS / 4); // DEL is answered before the interface has gone
  }
  for (const { namespacePath } of pods) deleteNamespace(namespacePath);
  await delay(CLEANUP_MS);
  say(`the first ${FRESH} pods, and ${ROUNDS - 1} times as many`);
  return results("pod-add-fresh-agent", [plugin], [times]);
}

/**
 * A node that fills up, one ADD after the other, margay's and the references' by turns, so that both meet the same
 * noise. Nothing is deleted meanwhile. Then it empties, in the same way. The agent has made pods before.
 */
export async function sequential(inside: Inside): Promise<Result[]> {
  const { relay, quick, say } = inside;
  const plugins = [margay(relay, "n1"), reference(), reference("bridge")];
  const first = await fresh(plugins[0]!, inside);
  const warmUp = 3;
  const n = quick ? 20 : 100;
  const pods = plugins.map((_, which) => namespaces(`seq${which}`, warmUp + n));
  await delay(CLEANUP_MS);
  const byTurns = async (command: "ADD" | "DEL") => {
    const times = plugins.map((): number[] => []);
    for (let i = 0; i < warmUp + n; i++) {
      for (const [which, plugin] of plugins.entries()) {
        const { ms } = await timedCall(plugin, pods[which]![i]!, command); // as many pods as turns
        if (i >= warmUp) times[which]?.push(ms);
      }
      if (i % 20 === 0) say(`${command}: ${i} of ${n} pods`);
    }
    return times;
  };
  const [added, deleted] = [await byTurns("ADD"), await byTurns("DEL")];
  for (const { namespacePath } of pods.flat()) deleteNamespace(namespacePath);
  return [
    ...first,
    ...results("pod-add-sequential", plugins, added, { of: "p50", atMost: 10 }),
    ...results("pod-del", plugins, deleted, { of: "p50", atMost: 5 }),
  ];
}

/**
 * 100 ADDs at once: the time until the last has ended; and what one ADD cost in CPU time (the plugin's processes, and the
 * agent of the node), which a busy machine changes less.
 */
export async function atOnce({ relay, quick, say }: Inside): Promise<Result[]> {
  const plugins = [margay(relay, "n1"), reference(), reference("bridge")];
  const rounds = quick ? 1 : 5;
  const times = plugins.map((): number[] => []);
  const cpu = plugins.map((): number[] => []);
  const agent = pidOf("agent");
  const spent = (which: number) => childrenCpuMs() + (which === 0 ? cpuMs(agent) : 0);
  for (let round = 0; round < rounds; round++) {
    for (const [which, plugin] of plugins.entries()) {
      const pods = namespaces(`once${which}-${round}`, 100);
      await delay(CLEANUP_MS);
      const before = spent(which);
      times[which]?.push(await together(plugin, pods));
      cpu[which]?.push((spent(which) - before) / pods.length);
      for (const pod of pods) await end(plugin, pod);
    }
    say(`round ${round + 1} of ${rounds}`);
  }
  return [
    ...results("pod-add-100-at-once", plugins, times, { of: "p50", atMost: 1000 }),
    ...results("pod-add-cpu", plugins, cpu),
  ];
}

const namespaces = (name: string, count: number): BenchPod[] =>
  Array.from({ length: count }, (_, i) => podNamespace(`${name}-${i}`));

async function together(plugin: Plugin, pods: readonly BenchPod[]): Promise<number> {
  const started = performance.now();
  await Promise.all(pods.map((pod) => call(plugin, pod, "ADD")));
  return performance.now() - started;
}

const results = (
  benchmark: string,
  plugins: readonly Plugin[],
  times: readonly number[][],
  target?: Result["target"],
): Result[] =>
  plugins.map(({ subject }, which) => ({
    ...{ benchmark, subject, unit: "ms", ...summary(times[which] ?? []) },
    ...(which === 0 && target && { target }),
  }));
