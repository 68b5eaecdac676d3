import { ageMs, cpuMs, statusOf } from "../../bench/process-table.ts";
import type { Kubelet } from "./kubelet.ts";

/** What a container has used since its start, and what its spec requests. */
export async function usageOf(kubelet: Kubelet, pod: string, container: string) {
  const pid = `${await kubelet.pid(pod, container)}`;
  return {
    /** Of its own process. */
    peakMiB: statusOf(pid, "VmHWM") / 1024,
    /** What it runs, such as iptables-restore, counts too. */
    cpuSeconds: cpuMs(pid) / 1000,
    seconds: ageMs(pid) / 1000,
    requestedMiB: kubelet.requestedMiB(pod, container),
    /** System calls go through a filter. */
    isFiltered: statusOf(pid, "Seccomp") === 2,
  };
}
