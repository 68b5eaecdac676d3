import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { getPriority, setPriority } from "node:os";

/** USER_HZ: a tick of /proc/<pid>/stat is 10 ms on every Linux that Node runs on. */
const TICK_MS = 10;

/** The daemon of a node, by its words in the process table. */
export function pidOf(daemon: string, node = "n1"): string {
  const found = readdirSync("/proc").find((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    const words = commandLine(pid);
    const at = words.indexOf(daemon);
    return at > 0 && words[0]?.endsWith("node") && words[words.indexOf("--node") + 1] === node;
  });
  if (found === undefined) throw new Error(`no ${daemon} of node ${node} runs here`);
  return found;
}

/**
 * Gives every process that is seen from here our own priority. A daemon that leads a session has a scheduling group of its own,
 * which does not inherit it: on a busy machine it would wait for everybody while the benchmark does not.
 */
export function raiseAll(): void {
  const nice = getPriority();
  if (nice >= 0) return;
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      setPriority(Number(pid), nice);
      writeFileSync(`/proc/${pid}/autogroup`, `${nice}`);
    } catch {
      // ended since readdir, or a kernel without groups
    }
  }
}

function commandLine(pid: string): string[] {
  return read(`/proc/${pid}/cmdline`).split("\0");
}

/** Nothing of a process that has ended since it was listed. */
function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** Resident memory in MB (2^20 bytes) of a process and of those it runs, such as the agent's iptables-restore; pages they share count twice. */
export const rssMb = (pid: string): number =>
  family(pid)
    .map((one) => statusOf(one, "VmRSS") / 1024)
    .reduce((total, mb) => total + mb, 0);

/** A number of /proc/<pid>/status, as it stands there: of memory kB; 0 for what is not there. */
export const statusOf = (pid: string, what: "VmRSS" | "VmHWM" | "Seccomp"): number =>
  Number(new RegExp(`^${what}:\\s+(\\d+)`, "m").exec(read(`/proc/${pid}/status`))?.[1] ?? 0);

/** Since a process was started. */
export const ageMs = (pid: string): number =>
  Number.parseFloat(read("/proc/uptime")) * 1000 - Number(stat(pid)[19]) * TICK_MS;

/** User and system time so far of a process, of those it runs, and of their children that have ended. */
export const cpuMs = (pid: string): number =>
  family(pid)
    .map((one) => sum(stat(one).slice(11, 15)))
    .reduce((total, ms) => total + ms, 0);

/** A process and all below it. */
function family(pid: string): string[] {
  const children = read(`/proc/${pid}/task/${pid}/children`).split(" ").filter(Boolean); // Node forks in its main thread
  return [pid, ...children.flatMap(family)];
}

/** User and system time of our own children that have ended. */
export const childrenCpuMs = (): number => sum(stat("self").slice(13, 15));

const sum = (ticks: readonly string[]): number => ticks.reduce((total, n) => total + Number(n) * TICK_MS, 0);

/** The fields after the command's closing bracket, which may itself hold spaces: the first is the state, field 3. */
const stat = (pid: string): string[] =>
  read(`/proc/${pid}/stat`)
    .replace(/^.*\) /s, "")
    .split(" ");
