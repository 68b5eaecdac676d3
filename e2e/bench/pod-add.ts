import type { Inside } from "./inside.ts";
import { type BenchPod, call, end, margay, type Plugin, podNamespace, reference } from "./plugin.ts";
import { type Result, summary } from "./result.ts";

/** ADDs one after the other, margay's and the reference's by turns, so that both meet the same noise. */
export async function sequential({ relay, quick, say }: Inside): Promise<Result[]> {
  const plugins = [margay(relay, "n1"), reference()];
  const n = quick ? 20 : 200;
  const times = plugins.map((): number[] => []);
  for (let i = -2; i < n; i++) {
    for (const [which, plugin] of plugins.entries()) {
      const pod = podNamespace(`seq-${which}-${i + 2}`);
      const { ms } = await call(plugin, pod, "ADD");
      if (i >= 0) times[which]?.push(ms); // two to warm up
      await end(plugin, pod);
    }
    if (i % 20 === 0) say(`${i} of ${n} pods`);
  }
  return plugins.map(({ subject }, which) => ({
    ...{ benchmark: "pod-add-sequential", subject, unit: "ms", ...summary(times[which] ?? []) },
    ...(which === 0 && { target: { of: "p50", atMost: 10 } }),
  }));
}

/** 100 ADDs at once: the time until the last has ended. */
export async function atOnce({ relay, quick, say }: Inside): Promise<Result[]> {
  const plugins = [margay(relay, "n1"), reference()];
  const rounds = quick ? 1 : 5;
  const times = plugins.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    for (const [which, plugin] of plugins.entries()) {
      const pods = Array.from({ length: 100 }, (_, i) => podNamespace(`all-${which}-${round}-${i}`));
      times[which]?.push(await together(plugin, pods));
      for (const pod of pods) await end(plugin, pod);
    }
    say(`round ${round + 1} of ${rounds}`);
  }
  return plugins.map(({ subject }, which) => ({
    ...{ benchmark: "pod-add-100-at-once", subject, unit: "ms", ...summary(times[which] ?? []) },
    ...(which === 0 && { target: { of: "p50", atMost: 1000 } }),
  }));
}

async function together(plugin: Plugin, pods: readonly BenchPod[]): Promise<number> {
  const started = performance.now();
  await Promise.all(pods.map((pod) => call(plugin, pod, "ADD")));
  return performance.now() - started;
}
