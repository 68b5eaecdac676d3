import { setTimeout as delay } from "node:timers/promises";
import type { Inside } from "./inside.ts";
import { createPod, kubernetes, together } from "./kubernetes-cluster.ts";
import { call, end, margay, podNamespace } from "./plugin.ts";
import { childrenCpuMs, cpuMs, pidOf } from "./process-table.ts";
import { type Result, summary } from "./result.ts";

const PODS = 100;
/** The kernel cleans up what the last round deleted. */
const CLEANUP_MS = 2000;

/**
 * 100 pods of a cluster at once on a node alone, until the last ADD has ended; and what one of them cost the agent and the relays in
 * CPU time: as pod-add-100-at-once, whose agent follows no API server.
 */
export async function kubernetesPods(inside: Inside): Promise<Result[]> {
  const { relay, quick, say } = inside;
  const { subject, server } = await kubernetes(inside);
  const plugin = margay(relay, "n1");
  const rounds = quick ? 1 : 5;
  const times: number[] = [];
  const cpu: number[] = [];
  const agent = pidOf("agent");
  const spent = () => childrenCpuMs() + cpuMs(agent);
  for (let round = 1; round <= rounds; round++) {
    say(`round ${round} of ${rounds}`);
    const pods = Array.from({ length: PODS }, (_, i) => podNamespace(`burst-${round}-${i}`));
    await together(pods, ({ name }, i) => createPod(server, name, "n1", { app: `app-${i}` }));
    await delay(CLEANUP_MS);
    const before = spent();
    const started = performance.now();
    await Promise.all(pods.map((pod) => call(plugin, pod, "ADD")));
    times.push(performance.now() - started);
    cpu.push((spent() - before) / pods.length);
    for (const pod of pods) await end(plugin, pod);
  }
  const row = (benchmark: string, values: number[], target?: Result["target"]): Result => ({
    ...{ benchmark, subject, unit: "ms", ...summary(values) },
    ...(target && { target }),
  });
  return [
    row("kubernetes-100-pods-at-once", times, { of: "p50", atMost: 1000 }),
    row("kubernetes-pod-add-cpu", cpu),
  ];
}
