import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { exec, ip, namespacePath, type Party, Responder } from "@margay/lab";
import { deleteNamespace, newNamespace } from "@margay/netlink";
import { keyOf, type Pod } from "./objects.ts";
import { onNode } from "./runtime.ts";

/** Ports that every pod of the lab answers on, TCP and UDP. */
export const PORTS = [80, 8080, 5000] as const;
const CONF_DIR = "/etc/cni/net.d";
const BIN_DIR = "/opt/cni/bin";

interface Conflist {
  readonly cniVersion: string;
  readonly name: string;
  readonly plugins: readonly { readonly type: string }[];
}

/** The node's network configuration as its kubelet finds it; without one the node is not ready. */
export function conflist(node: string): Conflist | undefined {
  const folder = onNode(node, CONF_DIR);
  const [name] = existsSync(folder)
    ? readdirSync(folder)
        .filter((file) => file.endsWith(".conflist"))
        .sort()
    : [];
  return name === undefined ? undefined : (JSON.parse(readFileSync(join(folder, name), "utf8")) as Conflist);
}

/** The network of one pod: a namespace, the CNI plugins of its node in order, and a responder in place of its containers. */
export class Sandbox {
  readonly party: Party;
  readonly #pod: Pod;
  /** A runtime keeps what it has added a pod with, for its end. */
  readonly #list: Conflist;
  readonly #responder: Responder;

  private constructor(pod: Pod, list: Conflist, party: Party, responder: Responder) {
    this.#pod = pod;
    this.#list = list;
    this.party = party;
    this.#responder = responder;
  }

  /** Throws the plugin's words; the namespace is gone again then. */
  static async open(pod: Pod): Promise<Sandbox> {
    const list = conflist(pod.spec.nodeName ?? "");
    if (!list) throw new Error(`${pod.spec.nodeName} has no CNI configuration`);
    const netns = netnsOf(pod);
    newNamespace(namespacePath(netns)); // whole or not at all: a program would leave half of it where it is ended for slowness
    try {
      await ip(netns, ["link set lo up"]);
      const { ips = [] } = (await chain(pod, list, "ADD")) as { ips?: { address: string }[] };
      const addresses = ips.map(({ address }) => address.replace(/\/\d+$/, ""));
      const party = { name: keyOf(pod), namespacePath: namespacePath(netns), addresses };
      return new Sandbox(pod, list, party, await Responder.open(party, PORTS));
    } catch (error) {
      deleteNamespace(namespacePath(netns));
      throw error;
    }
  }

  /** Nobody answers any more; the rest vanishes with the namespaces of the test run. */
  abandon(): void {
    this.#responder.close();
  }

  async close(): Promise<void> {
    this.#responder.close();
    await chain(this.#pod, this.#list, "DEL");
    deleteNamespace(namespacePath(netnsOf(this.#pod)));
  }
}

const netnsOf = ({ metadata: { namespace, name } }: Pod): string => `${namespace}.${name}`;

/** What libcni does with a list of plugins: each gets the result of the one before; DEL runs backwards. */
async function chain(pod: Pod, list: Conflist, command: "ADD" | "DEL"): Promise<unknown> {
  const node = pod.spec.nodeName ?? "";
  const { cniVersion, name, plugins } = list;
  let prevResult: unknown;
  for (const plugin of command === "ADD" ? plugins : plugins.toReversed()) {
    const input = JSON.stringify({
      cniVersion,
      name,
      ...plugin,
      ...(prevResult !== undefined && { prevResult }),
    });
    const { code, stdout, stderr } = await exec(words(node, plugin.type), {
      env: environment(pod, command),
      input,
    });
    if (code !== 0) throw new Error(`${plugin.type} ${command}: ${stdout.trim() || stderr.trim()}`);
    if (command === "ADD") prevResult = JSON.parse(stdout);
  }
  return prevResult;
}

/** In the node's network namespace, as its kubelet is. */
function words(node: string, type: string): string[] {
  const path = join(onNode(node, BIN_DIR), type);
  if (!existsSync(path)) throw new Error(`no CNI plugin ${type} on ${node}`);
  return ["nsenter", `--net=${namespacePath(node)}`, "--", path];
}

/** Plugins of Debian where the node's kubelet looks, as a package of containernetworking-plugins leaves them there. */
export function provide(node: string, types: readonly string[]): void {
  const folder = onNode(node, BIN_DIR);
  mkdirSync(folder, { recursive: true });
  for (const type of types) copyFileSync(join("/usr/lib/cni", type), join(folder, type));
}

const environment = (pod: Pod, command: string) => ({
  CNI_COMMAND: command,
  CNI_CONTAINERID: createHash("sha256").update(`${pod.metadata.uid}`).digest("hex"),
  CNI_NETNS: `/var/run/netns/${netnsOf(pod)}`, // as containerd says it
  CNI_IFNAME: "eth0",
  CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${pod.metadata.namespace};K8S_POD_NAME=${pod.metadata.name};K8S_POD_UID=${pod.metadata.uid}`,
  CNI_PATH: onNode(pod.spec.nodeName ?? "", BIN_DIR),
  // the configuration names the socket as the node sees it
  MARGAY_CNI_SOCKET: onNode(pod.spec.nodeName ?? "", "/run/margay/cni.sock"),
});
