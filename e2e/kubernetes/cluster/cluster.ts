import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ApiServer } from "@margay/kubernetes";
import {
  type Answer,
  bare,
  bird,
  birdReady,
  ENDPOINT,
  etcd,
  etcdReady,
  exec,
  ip,
  LabError,
  layCables,
  must,
  NAMESPACES,
  namespacePath,
  type Outcome,
  type Party,
  Prober,
  Processes,
  topology,
} from "@margay/lab";
import { now, unstarvedMs } from "../../testing/unstarved.ts";
// @ts-expect-error plain JavaScript: it runs before anything is built
import { toolsFolder } from "../tools.mjs";
import { items } from "./api.ts";
import { API_HOST, createNamespace, type RunningApiServer, startApiServer } from "./api-server.ts";
import { driveSlices } from "./endpoint-slices.ts";
import { kubeProxy, type ProxyMode } from "./kube-proxy.ts";
import { Kubelet } from "./kubelet.ts";
import type { Pod } from "./objects.ts";
import { nodeFolder, Runtime } from "./runtime.ts";
import { usageOf } from "./usage.ts";
import { driveWorkloads } from "./workloads.ts";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const IMAGES = "/run/images";
const PASS_MS = 250;
const STRETCH = 4;

/** A cluster of lab nodes with a real API server, to be made inside namespaces of its own (run.mjs). */
export class Cluster {
  readonly processes: Processes;
  readonly kubelets: readonly Kubelet[];
  readonly server: RunningApiServer;
  readonly #prober = new Prober();
  readonly #slices = new Map<string, string>();
  #driving = true;
  #loop: Promise<void> = Promise.resolve();

  /** Why pods do not run, as their status says. */
  async troubles(): Promise<string> {
    const pods = (await this.pods()) as (Pod & { status?: { message?: string } })[];
    return pods
      .flatMap(({ metadata, status }) => (status?.message ? [`${metadata.name}: ${status.message}`] : []))
      .join("\n");
  }

  private constructor(server: RunningApiServer, kubelets: readonly Kubelet[], processes: Processes) {
    this.server = server;
    this.kubelets = kubelets;
    this.processes = processes;
  }

  get admin(): ApiServer {
    return this.server.admin;
  }

  /** `proxies`: kube-proxy in that mode on node 1, 2, ...; without any, Services are not served. */
  static async start(
    count: number,
    { proxies = [] }: { proxies?: readonly ProxyMode[] } = {},
  ): Promise<Cluster> {
    for (const folder of [NAMESPACES, "/run/pki", "/run/crun", IMAGES, "/run/nodes"])
      mkdirSync(folder, { recursive: true });
    for (const image of ["margay", "margay-etcd"]) unpack(image);
    const processes = new Processes({
      logs: join(ROOT, "build/kubernetes-logs"),
      dieWithUs: false,
      onExit: () => {},
    });
    try {
      return await Cluster.#build(processes, count, proxies);
    } catch (error) {
      await processes.stop(3000); // jest would wait for them
      throw error;
    }
  }

  static async #build(processes: Processes, count: number, proxies: readonly ProxyMode[]): Promise<Cluster> {
    const { nodes } = topology({ nodes: count, routeReflectors: 0 });
    await layCables(nodes);
    processes.start(etcd());
    await etcdReady();
    processes.start(bird(nodes));
    await birdReady();
    const program = join(toolsFolder(), "kube-apiserver");
    const server = await startApiServer(processes, { program, folder: "/run/pki" });
    const { admin } = server;
    await createNamespace(admin, "default", {});
    const runtime = new Runtime({
      admin,
      processes,
      ca: server.ca,
      rootfs: (image) => join(IMAGES, image.split(":")[0] ?? ""),
    });
    for (const { name } of nodes) {
      mkdirSync(nodeFolder(name), { recursive: true });
      const labels = { "kubernetes.io/hostname": name, "kubernetes.io/os": "linux" };
      await admin.call({
        method: "POST",
        path: "/api/v1/nodes",
        body: { apiVersion: "v1", kind: "Node", metadata: { name, labels } },
      });
    }
    const kubelets = nodes.map(
      ({ name, ipv4, ipv6 }) =>
        new Kubelet({
          node: name,
          address: bare(ipv4),
          address6: bare(ipv6),
          server: admin,
          runtime,
          processes,
        }),
    );
    for (const [index, mode] of proxies.entries()) {
      // a Service's address is rewritten after it has been routed
      const { name: node = "", ipv4 = "" } = nodes[index] ?? {};
      await ip(node, [`route add default via ${API_HOST}`]);
      const { kubeconfig } = server;
      processes.start(
        kubeProxy({
          program: join(toolsFolder(), "kube-proxy"),
          node,
          address: bare(ipv4),
          mode,
          kubeconfig,
        }),
      );
    }
    const cluster = new Cluster(server, kubelets, processes);
    cluster.resume();
    return cluster;
  }

  /** The lab's controllers and kubelets stand still from now on. */
  async pause(): Promise<void> {
    this.#driving = false;
    await this.#loop;
  }

  resume(): void {
    this.#driving = true;
    this.#loop = this.#drive();
  }

  /** The lab's controllers and kubelets, pass after pass. A failed pass is written down and followed by the next. */
  async #drive(): Promise<void> {
    const log = join(ROOT, "build/kubernetes-logs/lab.log");
    while (this.#driving) {
      try {
        const pods = await items<Pod>(this.admin, "/api/v1/pods");
        await driveWorkloads(this.admin, pods);
        await driveSlices(this.admin, pods, this.#slices);
        await Promise.all(this.kubelets.map((kubelet) => kubelet.sync(pods)));
      } catch (error) {
        writeFileSync(log, `${new Date().toISOString()} ${error}\n`, { flag: "a" });
      }
      await new Promise((resolve) => setTimeout(resolve, PASS_MS));
    }
  }

  /** What the tools need to find each other and this API server. */
  get environment() {
    return {
      KUBECONFIG: this.server.kubeconfig,
      HELM_CACHE_HOME: "/run/helm",
      HELM_CONFIG_HOME: "/run/helm",
      HELM_DATA_HOME: "/run/helm",
      HOME: "/run",
      PATH: `${toolsFolder()}:${process.env.PATH}`,
    };
  }

  /** A tool of ours against this API server. */
  run(
    tool: "helm" | "kubectl",
    words: readonly string[],
    { input, timeoutMs = 600_000 }: { input?: string; timeoutMs?: number } = {},
  ): Promise<Outcome> {
    return exec([join(toolsFolder(), tool), ...words], {
      env: this.environment,
      timeoutMs,
      ...(input !== undefined && { input }),
    });
  }

  /** Its output; throws its words when it fails. */
  async must(
    tool: "helm" | "kubectl",
    words: readonly string[],
    options: { input?: string; timeoutMs?: number } = {},
  ): Promise<string> {
    const { code, stdout, stderr } = await this.run(tool, words, options);
    if (code !== 0) throw new Error(`${tool} ${words.join(" ")}: exit ${code}\n${stdout}${stderr}`);
    return stdout;
  }

  /** The margay executable on the lab's datastore. */
  margay = async (words: readonly string[]): Promise<string> => {
    const program = join(ROOT, "packages/margay/dist/margay.mjs");
    const command = [process.execPath, program, ...words, "--etcd-endpoints", ENDPOINT];
    return must(command, { timeoutMs: 60_000 }); // Node.js starts slowly on a busy machine
  };

  apply = (yaml: string): Promise<string> => this.must("kubectl", ["apply", "-f", "-"], { input: yaml });

  /**
   * Resolves when the question is answered with true; one that fails is asked again. The message is asked at the end. The
   * time in which the machine had more to do than processors is not counted, up to four times the rest.
   */
  async eventually(
    what: string | (() => string),
    question: () => Promise<boolean> | boolean,
    timeoutMs = 60_000,
  ): Promise<void> {
    const since = now();
    for (;;) {
      let failure = "";
      try {
        if (await question()) return;
      } catch (error) {
        failure = `\n${error}`; // such as an etcd that a busy machine lets answer too late
      }
      if (unstarvedMs(since, now(), STRETCH * timeoutMs) > timeoutMs)
        throw new LabError(
          "timeout",
          `${typeof what === "string" ? what : what()}${failure} after ${timeoutMs / 1000} s`,
        );
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** Nodes and pods as kubectl shows them, and the last words of containers that ended or were started again. */
  async describe(): Promise<string> {
    const shown = await this.must("kubectl", ["get", "nodes,pods", "-A", "-o", "wide"]);
    // the last of each: "n1/pod/container#12"
    const last = new Map(this.processes.status().map((one) => [one.name.replace(/#.*/, ""), one]));
    const words = [...last.values()].map(
      ({ name, ended }) => `${name} ${ended ?? "runs"}: ${this.processes.lastWords(name, 2).slice(-600)}`,
    );
    return `${shown}${await this.troubles()}\n${words.join("\n")}`;
  }

  #kubeletOf(pod: string, container: string): Kubelet {
    const found = this.kubelets.find((one) => one.processOf(pod, container) !== undefined);
    if (!found) throw new Error(`no running container ${container} of ${pod}`);
    return found;
  }

  /** `kubectl exec`: words in a container of the pod; throws what it says when it fails. */
  async execIn(pod: string, container: string, words: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.#kubeletOf(pod, container).exec(pod, container, words);
    if (code !== 0) throw new Error(`${words.join(" ")} in ${pod}: exit ${code}\n${stdout}${stderr}`);
    return stdout;
  }

  /** What a daemon on the node's network answers; exit code 22 for anything but 2xx, with its text all the same. */
  answer(node: string, port: number, path: string): Promise<Outcome> {
    const curl = ["curl", "-s", "--fail-with-body", "--max-time", "5", `127.0.0.1:${port}/${path}`];
    return exec(["nsenter", `--net=${namespacePath(node)}`, "--", ...curl]);
  }

  usage(pod: string, container: string) {
    return usageOf(this.#kubeletOf(pod, container), pod, container);
  }

  pods = (): Promise<Pod[]> => items<Pod>(this.admin, "/api/v1/pods");

  party(pod: string) {
    const found = this.kubelets.flatMap(({ parties }) => parties).find(({ name }) => name === pod);
    if (!found) throw new Error(`no running pod ${pod}`);
    return found;
  }

  /** A real connection from one pod to another, over IPv4 unless told otherwise. */
  ask(
    from: string,
    to: string,
    { port = 80, protocol = "tcp" as "tcp" | "udp", family = 4 as 4 | 6 } = {},
  ): Promise<Answer> {
    return this.#prober.ask(this.party(from), this.party(to), { family, protocol, port });
  }

  /** The same at another address, a Service's, of the pod of that name that must answer. */
  askAt(
    from: Party,
    { name, address, protocol = "tcp" }: { name: string; address: string; protocol?: "tcp" | "udp" },
  ): Promise<Answer> {
    const to = { name, namespacePath: "", addresses: [address] };
    return this.#prober.ask(from, to, { family: 4, protocol, port: 80 });
  }

  /** Until the lab's answer is the expected one: how long the API, the controllers and the agents take together. */
  async becomes(
    expected: boolean,
    from: string,
    to: string,
    options: { port?: number; protocol?: "tcp" | "udp"; family?: 4 | 6 } = {},
  ): Promise<void> {
    let answer: Answer | undefined;
    const asExpected = async () => {
      answer = await this.ask(from, to, options);
      return (answer === "reached") === expected;
    };
    const what = `${from} ${expected ? "reaches" : "does not reach"} ${to} ${JSON.stringify(options)}`;
    await this.eventually(() => `${what} (${answer})`, asExpected, 30_000);
  }

  kubelet(node: string): Kubelet {
    const found = this.kubelets.find((kubelet) => kubelet.node === node);
    if (!found) throw new Error(`no node ${node}`);
    return found;
  }

  /** Which verbs on which resources a user has used, and what it was refused: from the audit log. */
  audit(user: string): { readonly used: Set<string>; readonly refused: Set<string> } {
    const used = new Set<string>();
    const refused = new Set<string>();
    for (const line of readFileSync(this.server.auditLog, "utf8").split("\n").filter(Boolean)) {
      const event = JSON.parse(line) as {
        verb: string;
        user: { username: string };
        objectRef?: { apiGroup?: string; resource: string; subresource?: string };
        responseStatus?: { code?: number };
      };
      if (event.user.username !== user || !event.objectRef) continue;
      const { apiGroup = "", resource, subresource } = event.objectRef;
      const what = `${event.verb} ${apiGroup}/${resource}${subresource ? `/${subresource}` : ""}`;
      (event.responseStatus?.code === 403 ? refused : used).add(what);
    }
    return { used, refused };
  }

  async stop(): Promise<void> {
    await this.pause();
    for (const kubelet of this.kubelets) kubelet.abandon();
    this.admin.close();
    await this.processes.stop(3000);
  }
}

/** The image that `npm run image` has made, by its layers. */
function unpack(name: string): void {
  const folder = join(IMAGES, name);
  const oci = join(IMAGES, `${name}.oci`);
  for (const path of [folder, oci]) mkdirSync(path);
  const tar = (...words: string[]) => execFileSync("tar", words, { stdio: "pipe" });
  tar("-C", oci, "-xf", join(ROOT, `build/image/${name}.tar`));
  const blob = (digest: string) => join(oci, "blobs", digest.replace(":", "/"));
  const json = (path: string) =>
    JSON.parse(readFileSync(path, "utf8")) as {
      manifests: { digest: string }[];
      layers: { digest: string }[];
    };
  const [manifest] = json(join(oci, "index.json")).manifests;
  for (const { digest } of json(blob(manifest?.digest ?? "")).layers) tar("-C", folder, "-xzf", blob(digest));
  if (readdirSync(folder).length === 0) throw new Error(`image ${name} is empty`);
}
