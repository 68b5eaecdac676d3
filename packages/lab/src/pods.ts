import { createHash } from "node:crypto";
import { LabError } from "./errors.ts";
import { exec, must } from "./exec.ts";
import { ip, namespacePath } from "./fabric.ts";

export interface PodRequest {
  readonly name: string;
  readonly namespace: string;
  readonly node: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Addresses asked for (`args.cni.ips`); none: any. */
  readonly ips?: readonly string[];
  /** As a runtime without Kubernetes hands them over (`args.cni.annotations`). */
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface Pod extends PodRequest {
  readonly containerID: string;
  readonly namespacePath: string;
  /** With prefix length, as in the CNI result. */
  readonly addresses: readonly string[];
}

/** What executing the plugin needs to know of the lab. */
export interface Runtime {
  /** The executable that a container runtime would run. */
  readonly relay: string;
  /** Of the agent on that node. */
  readonly socket: (node: string) => string;
}

export const podKey = ({ namespace, name }: { readonly namespace: string; readonly name: string }): string =>
  `${namespace}/${name}`;

/**
 * What a container runtime does for a pod: a network namespace, loopback, and one ADD of the real plugin executable.
 * LabError "cni" with the plugin's code and words; the namespace is gone again then.
 */
export async function addPod(runtime: Runtime, request: PodRequest): Promise<Pod> {
  const { name, namespace } = request;
  const netns = `${namespace}.${name}`; // neither has a dot, so no two pods share one
  await must(["ip", "netns", "add", netns]);
  const pod = {
    ...request,
    containerID: containerID(request),
    namespacePath: namespacePath(netns),
    addresses: [],
  };
  try {
    await ip(netns, ["link set lo up"]);
    const result = JSON.parse(await invoke(runtime, pod, "ADD")) as { ips?: { address: string }[] };
    return { ...pod, addresses: (result.ips ?? []).map(({ address }) => address) };
  } catch (error) {
    await exec(["ip", "netns", "delete", netns]);
    throw error;
  }
}

/** DEL, then the namespace goes. LabError "cni". */
export async function removePod(runtime: Runtime, pod: Pod): Promise<void> {
  await invoke(runtime, pod, "DEL");
  await must(["ip", "netns", "delete", pod.namespacePath.split("/").at(-1) ?? ""]);
}

let sequence = 0;
/** 64 hex digits as containerd makes them; never the same twice. */
const containerID = (pod: PodRequest): string =>
  createHash("sha256")
    .update(`${podKey(pod)} ${process.pid} ${++sequence}`)
    .digest("hex");

async function invoke({ relay, socket }: Runtime, pod: Pod, command: "ADD" | "DEL"): Promise<string> {
  const env = {
    CNI_COMMAND: command,
    CNI_CONTAINERID: pod.containerID,
    CNI_NETNS: pod.namespacePath,
    CNI_IFNAME: "eth0",
    CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${pod.namespace};K8S_POD_NAME=${pod.name}`,
    CNI_PATH: relay.replace(/\/[^/]+$/, ""),
  };
  const input = JSON.stringify(configuration(pod, socket(pod.node)));
  const { code, stdout, stderr } = await exec([relay], { env, input });
  if (code === 0) return stdout;
  throw new LabError(
    "cni",
    `${command} of ${podKey(pod)} on ${pod.node}: ${pluginError(stdout) ?? (stderr.trim() || `exit code ${code}`)}`,
  );
}

/** The network configuration that a runtime hands the plugin. Pure. */
function configuration(pod: PodRequest, socket: string) {
  const labels = Object.entries(pod.labels).map(([key, value]) => ({ key, value }));
  const { ips = [], annotations } = pod;
  const cni = { labels, ...(ips.length > 0 && { ips }), ...(annotations && { annotations }) };
  const feature_control = { floating_ips: true };
  return { cniVersion: "1.1.0", name: "margay", type: "margay-cni", socket, feature_control, args: { cni } };
}

/** "code 11: …" of a CNI error result; undefined when it is none. */
function pluginError(stdout: string): string | undefined {
  try {
    const { code, msg, details } = JSON.parse(stdout) as { code?: number; msg?: string; details?: string };
    return msg === undefined ? undefined : `CNI error ${code}: ${msg}${details ? ` (${details})` : ""}`;
  } catch {
    return undefined; // not JSON: the caller shows stderr
  }
}
