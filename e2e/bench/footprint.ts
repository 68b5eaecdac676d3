import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { Inside } from "./inside.ts";
import { call, end, margay, podNamespace } from "./plugin.ts";
import { type Result, summary } from "./result.ts";

/** USER_HZ: a tick of /proc/<pid>/stat is 10 ms on every Linux that Node runs on. */
const TICK_MS = 10;
const DAEMONS = [
  { name: "agent", rssMb: 120 },
  { name: "bgpd", rssMb: 80 },
];

/** Memory and idle CPU of a node's daemons while 100 pods run on it. */
export async function footprint({ relay, quick, say }: Inside): Promise<Result[]> {
  const plugin = margay(relay, "n1");
  const pods = Array.from({ length: 100 }, (_, i) => podNamespace(`foot-${i}`));
  for (const pod of pods) await call(plugin, pod, "ADD");
  const [settleMs, watchMs] = quick ? [2000, 5000] : [10_000, 30_000];
  say(`100 pods run; looking for ${(settleMs + watchMs) / 1000} s`);
  await delay(settleMs);
  const before = DAEMONS.map(({ name }) => cpuMs(pidOf(name)));
  await delay(watchMs);
  const results = DAEMONS.flatMap(({ name, rssMb }, i): Result[] => {
    const pid = pidOf(name);
    const cpu = (100 * (cpuMs(pid) - (before[i] ?? 0))) / watchMs;
    const about = { benchmark: "footprint-100-pods" };
    return [
      {
        ...about,
        subject: `${name} RSS`,
        unit: "MB",
        ...summary([rss(pid)]),
        target: { of: "p50", atMost: rssMb },
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

/** The daemon of node n1, by its words in the process table. */
function pidOf(daemon: string): string {
  const found = readdirSync("/proc").find((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    const words = commandLine(pid);
    const at = words.indexOf(daemon);
    return at > 0 && words[0]?.endsWith("node") && words[words.indexOf("--node") + 1] === "n1";
  });
  if (found === undefined) throw new Error(`no ${daemon} of node n1 runs here`);
  return found;
}

function commandLine(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return []; // ended since readdir
  }
}

const rss = (pid: string): number =>
  Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;

/** User and system time; the fields after the command's closing bracket, which may itself hold spaces. */
function cpuMs(pid: string): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /s, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}
