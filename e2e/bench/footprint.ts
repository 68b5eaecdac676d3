import { setTimeout as delay } from "node:timers/promises";
import type { Inside } from "./inside.ts";
import { call, end, margay, podNamespace } from "./plugin.ts";
import { cpuMs, pidOf, rssMb } from "./process-table.ts";
import { type Result, summary } from "./result.ts";

const DAEMONS = [
  { name: "agent", mb: 120 },
  { name: "bgpd", mb: 80 },
];

/** Memory and idle CPU of a node's daemons while 100 pods run on it. */
export async function footprint({ relay, quick, say }: Inside): Promise<Result[]> {
  const plugin = margay(relay, "n1");
  const pods = Array.from({ length: 100 }, (_, i) => podNamespace(`foot-${i}`));
  for (const pod of pods) await call(plugin, pod, "ADD");
  const [settleMs, watchMs] = quick ? [2000, 5000] : [20_000, 30_000]; // at rest the agent collects its garbage, once
  say(`100 pods run; looking for ${(settleMs + watchMs) / 1000} s`);
  await delay(settleMs);
  const before = DAEMONS.map(({ name }) => cpuMs(pidOf(name)));
  await delay(watchMs);
  const results = DAEMONS.flatMap(({ name, mb }, i): Result[] => {
    const pid = pidOf(name);
    const cpu = (100 * (cpuMs(pid) - (before[i] ?? 0))) / watchMs;
    const about = { benchmark: "footprint-100-pods" };
    return [
      {
        ...about,
        subject: `${name} RSS`,
        unit: "MB",
        ...summary([rssMb(pid)]),
        target: { of: "p50", atMost: mb },
      },
      {
        ...about,
        subject: `${name} idle CPU`,
        unit: "%",
        ...summary([cpu]),
        target: { of: "p50", atMost: 1 },
      },
    ];
  });
  for (const pod of pods) await end(plugin, pod);
  return results;
}
