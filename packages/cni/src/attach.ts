import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Argv, CommandModule } from "yargs";
import { relay } from "./relay.ts";

/** A workload that no container runtime looks after: a VM, a container, a bare network namespace. */
export interface Workload {
  readonly name: string;
  readonly namespace: string;
  /** Interface inside. */
  readonly ifname: string;
  /** Path of its network namespace; a `detach` may do without. */
  readonly netns: string;
  readonly labels: readonly { readonly key: string; readonly value: string }[];
  readonly ips: readonly string[];
}

/** What an attachment got. */
export interface Attached {
  readonly interfaces: readonly { readonly name: string; readonly mac?: string; readonly sandbox?: string }[];
  readonly ips: readonly { readonly address: string }[];
}

/** The agent's refusal, in its words. */
export class AttachError extends Error {
  override readonly name = "AttachError";
  /** CNI's. */
  readonly code: number;

  constructor({ code, msg, details }: { code: number; msg: string; details?: string }) {
    super(details ? `${msg} (${details})` : msg);
    this.code = code;
  }
}

/**
 * Gives a workload an address, an interface, routes and policy: one CNI call over the agent's socket, like a runtime's.
 * Repeated, the same again, with the labels given last. The network's name keeps it apart from the runtime's pods, whose GC does not know of it, and
 * from workloads of that name in other namespaces. Throws AttachError.
 */
export async function attach(socket: string, workload: Workload): Promise<Attached> {
  return JSON.parse(await call("ADD", socket, workload)) as Attached;
}

/** Undoes `attach`; nothing there is success. With the agent away it is done when the agent is back. */
export async function detach(socket: string, workload: Omit<Workload, "labels" | "ips">): Promise<void> {
  await call("DEL", socket, { ...workload, labels: [], ips: [] });
}

async function call(command: "ADD" | "DEL", socket: string, workload: Workload): Promise<string> {
  const { name, namespace, ifname, netns, labels, ips } = workload;
  const cni = { labels, ...(ips.length > 0 && { ips }) };
  const conf = { cniVersion: "1.1.0", name: `attach-${namespace}`, type: "margay-cni", args: { cni } };
  const { exitCode, stdout } = await relay({
    argv0: "margay-cni",
    env: {
      ...{ CNI_COMMAND: command, CNI_CONTAINERID: name, CNI_NETNS: netns, CNI_IFNAME: ifname },
      ...{ CNI_ARGS: `K8S_POD_NAMESPACE=${namespace}`, MARGAY_CNI_SOCKET: socket },
    },
    stdin: Buffer.from(JSON.stringify(conf)),
  });
  if (exitCode === 0) return stdout;
  throw new AttachError(JSON.parse(stdout) as ConstructorParameters<typeof AttachError>[0]);
}

/** A path, a name as of `ip netns`, or a process ID. */
export function namespacePath(text: string): string {
  if (text.includes("/")) return resolve(text);
  const named = join("/run/netns", text);
  return !existsSync(named) && /^\d+$/.test(text) ? `/proc/${text}/ns/net` : named;
}

/** "app=web,tier=front", given once or more. */
export function parseLabels(texts: readonly string[]): Workload["labels"] {
  return texts
    .flatMap((text) => text.split(","))
    .map((pair) => {
      const equals = pair.indexOf("=");
      if (equals < 1)
        throw new AttachError({ code: 4, msg: `--labels: KEY=VALUE, not ${JSON.stringify(pair)}` });
      return { key: pair.slice(0, equals), value: pair.slice(equals + 1) };
    });
}

const common = <T>(yargs: Argv<T>) =>
  yargs
    .option("name", { type: "string", demandOption: true, describe: "name of the workload" })
    .option("namespace", { alias: "n", type: "string", default: "default", describe: "its namespace" })
    .option("interface", { type: "string", default: "eth0", describe: "name of the interface inside" })
    .option("run-dir", {
      type: "string",
      default: process.env.MARGAY_RUN_DIR ?? "/run/margay",
      describe: "directory of the agent's socket",
    });

const attachCommand: CommandModule = {
  command: "attach <netns>",
  describe: "give a network namespace an address, routes and policy, without Kubernetes",
  builder: (yargs) =>
    common(yargs)
      .positional("netns", { type: "string", describe: "path, name (ip netns) or process ID" })
      .option("labels", {
        alias: "l",
        type: "string",
        array: true,
        default: [],
        describe: "KEY=VALUE,..., for policies",
      })
      .option("ip", {
        type: "string",
        array: true,
        default: [],
        describe: "this very address, one of a family",
      })
      .option("output", {
        alias: "o",
        choices: ["text", "json"] as const,
        default: "text",
        describe: "how to print",
      })
      .usage(
        "$0 attach <netns>\n\nFor VMs, containers and bare namespaces: the same path as a pod's, over the agent's socket. " +
          "Repeated, it keeps address and interface, and the labels are those given last. Policies select the workload by its labels and namespace.",
      ),
  handler: async (argv) => {
    const flags = argv as unknown as Flags & { labels: string[]; ip: string[]; output: string }; // as built above
    const { labels, ip: ips, output } = flags;
    const result = await attach(socketOf(flags), { ...workloadOf(flags), labels: parseLabels(labels), ips });
    const text = result.ips.map(({ address }) => address.replace(/\/\d+$/, "")).join("\n");
    process.stdout.write(`${output === "json" ? JSON.stringify(result, undefined, 2) : text}\n`);
  },
};

const detachCommand: CommandModule = {
  command: "detach [netns]",
  describe: "take back what attach gave",
  builder: (yargs) =>
    common(yargs)
      .positional("netns", {
        type: "string",
        default: "",
        describe: "path, name or process ID, if it is still there",
      })
      .usage(
        "$0 detach [netns]\n\nWhat is gone already is success. While the agent is away it is kept, and done later.",
      ),
  handler: (argv) => {
    const flags = argv as unknown as Flags; // as built above
    return detach(socketOf(flags), workloadOf(flags));
  },
};

interface Flags {
  readonly netns: string;
  readonly name: string;
  readonly namespace: string;
  readonly interface: string;
  readonly "run-dir": string;
}

const socketOf = (flags: Flags): string => join(flags["run-dir"], "cni.sock");

const workloadOf = ({ netns, name, namespace, interface: ifname }: Flags) => ({
  ...{ name, namespace, ifname },
  netns: netns === "" ? "" : namespacePath(netns),
});

/** `margay attach`, `margay detach`. */
export const commands: readonly CommandModule[] = [attachCommand, detachCommand];
