import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { deleteNamespace, inNamespace, newNamespace } from "@margay/netlink";

/** A CNI plugin as a container runtime would execute it. */
export interface Plugin {
  readonly subject: string;
  readonly binary: string;
  /** The network configuration it reads on stdin. */
  readonly configuration: object;
  /** Network namespace it runs in; ours by default. */
  readonly namespace?: string;
}

/** One pod of a benchmark. */
export interface BenchPod {
  readonly name: string;
  readonly containerID: string;
  readonly namespacePath: string;
}

/** The network namespace of a pod that does not exist yet. */
export function podNamespace(name: string): BenchPod {
  const namespacePath = `/run/netns/bench-${name}`;
  newNamespace(namespacePath);
  const containerID = Buffer.from(name).toString("hex").padEnd(64, "0").slice(0, 64);
  return { name, containerID, namespacePath };
}

/**
 * Executes the plugin once. The time runs from the start of its process to the end, as this process sees it. The namespace is entered
 * by the fork itself, so that no helper's exec is counted.
 * @returns ms, and the plugin's result. Error with the plugin's own words when it fails.
 */
export async function call(plugin: Plugin, pod: BenchPod, command: Command): Promise<Answer> {
  const started = performance.now();
  const start = () => ({ ended: execute(plugin.binary, [], { plugin, pod, command }) });
  const { ended } = plugin.namespace === undefined ? start() : inNamespace(plugin.namespace, start);
  const { result } = await ended;
  return { ms: performance.now() - started, result };
}

/** The same, by a launcher that is small as a runtime is (`launch.c`): the time is what it waited. */
export async function timedCall(plugin: Plugin, pod: BenchPod, command: Command): Promise<Answer> {
  const args = [plugin.namespace ?? "-", plugin.binary];
  const { result, told } = await execute(launcher(), args, { plugin, pod, command });
  return { ms: Number(told) / 1e6, result };
}

type Command = "ADD" | "DEL";

interface Answer {
  readonly ms: number;
  readonly result: string;
}

interface Execution {
  readonly plugin: Plugin;
  readonly pod: BenchPod;
  readonly command: Command;
}

/** @returns what it wrote to its output and to descriptor 3 */
async function execute(
  file: string,
  args: readonly string[],
  { plugin, pod, command }: Execution,
): Promise<{ readonly result: string; readonly told: string }> {
  const env = {
    PATH: process.env.PATH,
    CNI_COMMAND: command,
    CNI_CONTAINERID: pod.containerID,
    CNI_NETNS: pod.namespacePath,
    CNI_IFNAME: "eth0",
    CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;K8S_POD_NAME=${pod.name}`,
    CNI_PATH: "/usr/lib/cni",
  };
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const child = spawn(file, args, { env, stdio: ["pipe", "pipe", "inherit", "pipe"] });
  const texts = ["", ""];
  for (const [which, stream] of [child.stdout, child.stdio[3]].entries())
    stream?.on("data", (chunk: Buffer) => {
      texts[which] += chunk.toString();
    });
  const [stdin] = child.stdio;
  child.on("error", reject);
  child.on("close", (code) => {
    if (code === 0) resolve();
    else reject(new Error(`${command} by ${plugin.subject}: exit ${code}: ${texts[0]?.trim()}`));
  });
  stdin?.on("error", () => {}); // it ended before reading all: its exit code tells
  stdin?.end(JSON.stringify(plugin.configuration));
  await promise;
  const [result = "", told = ""] = texts;
  return { result, told };
}

const LAUNCHER = fileURLToPath(new URL("../../build/bench/launch", import.meta.url));
let isBuilt = false;

/** Built once for each run. */
function launcher(): string {
  if (!isBuilt) {
    mkdirSync(dirname(LAUNCHER), { recursive: true });
    const source = fileURLToPath(new URL("launch.c", import.meta.url));
    execFileSync("gcc", ["-static", "-O1", "-o", LAUNCHER, source]);
  }
  isBuilt = true;
  return LAUNCHER;
}

/** DEL, and the namespace goes. */
export async function end(plugin: Plugin, pod: BenchPod): Promise<void> {
  await call(plugin, pod, "DEL");
  deleteNamespace(pod.namespacePath);
}

/** The IPv4 address in a CNI result. */
export function address4(result: string): string {
  const { ips = [] } = JSON.parse(result) as { ips?: { address: string }[] };
  const found = ips.find(({ address }) => !address.includes(":"))?.address.replace(/\/\d+$/, "");
  if (found === undefined) throw new Error(`no IPv4 address in ${result}`);
  return found;
}

/** The plugin under test, on a node of the lab; its pods get these labels. */
export const margay = (
  relay: string,
  node: string,
  labels: Readonly<Record<string, string>> = {},
): Plugin => ({
  subject: "margay",
  binary: relay,
  configuration: {
    cniVersion: "1.1.0",
    name: "margay",
    type: "margay-cni",
    socket: `/run/margay/${node}/cni.sock`,
    args: { cni: { labels: Object.entries(labels).map(([key, value]) => ({ key, value })) } },
  },
});

/** The reference plugins, with addresses from host-local, each kind in a namespace of its own as the node. */
export function reference(type: "ptp" | "bridge" = "ptp"): Plugin {
  const namespace = `/run/netns/bench-${type}`;
  if (!existsSync(namespace)) newNamespace(namespace); // an earlier benchmark in this lab made it
  const ipam = { type: "host-local", subnet: "10.99.0.0/16", dataDir: `/run/bench-host-local-${type}` };
  const gateway = type === "bridge" && { isGateway: true };
  return {
    subject: `${type}+host-local`,
    binary: `/usr/lib/cni/${type}`,
    configuration: { cniVersion: "1.0.0", name: "reference", type, ...gateway, ipam },
    namespace,
  };
}
