import type { ApiServer } from "@margay/kubernetes";
import type { Outcome, Party, Processes } from "@margay/lab";
import { patchStatus, remove } from "./api.ts";
import type { Container, Pod } from "./objects.ts";
import { isReady, Life } from "./probes.ts";
import type { Runtime } from "./runtime.ts";
import { conflist, Sandbox } from "./sandbox.ts";

interface RunningContainer {
  readonly spec: Container;
  process: string;
  restarts: number;
  ready: boolean;
  life: Life;
  /** It has failed its liveness probe and is being stopped. */
  ending?: Promise<void>;
}

interface Held {
  readonly pod: Pod;
  sandbox?: Sandbox;
  containers: RunningContainer[];
  initLeft: Container[];
  ending: boolean;
  /** The last status told, as text. */
  told: string;
  trouble?: string;
}

/** What of a kubelet the network sees: it runs pods of its node, probes them, tells their status, and says whether it is Ready. */
export class Kubelet {
  readonly node: string;
  readonly #server: ApiServer;
  readonly #runtime: Runtime;
  readonly #processes: Processes;
  readonly #held = new Map<string, Held>();
  readonly #address: string;
  readonly #address6: string;
  #toldReady: boolean | undefined;

  constructor(options: {
    node: string;
    address: string;
    address6: string;
    server: ApiServer;
    runtime: Runtime;
    processes: Processes;
  }) {
    this.node = options.node;
    this.#address = options.address;
    this.#address6 = options.address6;
    this.#server = options.server;
    this.#runtime = options.runtime;
    this.#processes = options.processes;
  }

  /** Holds nothing open any more; the pods are left to the end of the test run. */
  abandon(): void {
    for (const { sandbox } of this.#held.values()) sandbox?.abandon();
  }

  /** Pods of the pod network that run here, to be probed. */
  get parties(): Party[] {
    return [...this.#held.values()].flatMap(({ sandbox, ending }) =>
      sandbox && !ending ? [sandbox.party] : [],
    );
  }

  /** The process of a container that runs here. */
  processOf(pod: string, container: string): string | undefined {
    return this.#container(pod, container)?.process;
  }

  /** Whether a container's probes have said so. */
  isReady(pod: string, container: string): boolean {
    return this.#container(pod, container)?.ready ?? false;
  }

  exec(pod: string, container: string, words: readonly string[]): Promise<Outcome> {
    return this.#runtime.exec(this.processOf(pod, container) ?? "", words);
  }

  /** As the lab sees it, of the container's own process. */
  pid(pod: string, container: string): Promise<number> {
    return this.#runtime.pid(this.processOf(pod, container) ?? "");
  }

  /** The memory that a container requests ("128Mi"), as its kubelet would reserve it. */
  requestedMiB(pod: string, container: string): number {
    const found = this.#container(pod, container);
    return Number.parseInt(found?.spec.resources?.requests?.memory ?? "", 10);
  }

  /** Kills a container as the kernel would that has no memory left: it is started again. */
  async kill(pod: string, container: string): Promise<void> {
    await this.#runtime.kill(this.processOf(pod, container) ?? "");
  }

  /** Starts again what has ended of a pod, which a kubelet does also while the API server is away. */
  async startAgain(pod: string): Promise<void> {
    const held = this.#named(pod);
    if (held) await this.#driveContainers(held);
  }

  #named = (pod: string): Held | undefined =>
    [...this.#held.values()].find(({ pod: { metadata } }) => metadata.name === pod);
  #container = (pod: string, container: string): RunningContainer | undefined =>
    this.#named(pod)?.containers.find(({ spec }) => spec.name === container);

  /** Stops a container's process where it stands. */
  async freeze(pod: string, container: string): Promise<void> {
    await this.#runtime.freeze(this.processOf(pod, container) ?? "");
  }

  /** And lets it go on. */
  async thaw(pod: string, container: string): Promise<void> {
    await this.#runtime.thaw(this.processOf(pod, container) ?? "");
  }

  /** One pass over the pods bound to this node. */
  async sync(all: readonly Pod[]): Promise<void> {
    const mine = all.filter(({ spec }) => spec.nodeName === this.node);
    const there = new Set(mine.map(({ metadata }) => metadata.uid));
    for (const pod of mine) if (!pod.metadata.deletionTimestamp) this.#hold(pod);
    const gone = [...this.#held.values()].filter(
      ({ pod: { metadata } }) =>
        !there.has(metadata.uid) ||
        mine.some((pod) => pod.metadata.uid === metadata.uid && pod.metadata.deletionTimestamp),
    );
    for (const held of gone) void this.#end(held);
    for (const pod of mine)
      if (pod.metadata.deletionTimestamp && !this.#held.has(pod.metadata.uid ?? ""))
        await remove(this.#server, pathOf(pod));
    await Promise.all(
      [...this.#held.values()].filter(({ ending }) => !ending).map((held) => this.#drive(held)),
    );
    await this.#tellNode();
  }

  #hold(pod: Pod): void {
    const { uid = "" } = pod.metadata;
    if (this.#held.has(uid) || ["Succeeded", "Failed"].includes(pod.status?.phase ?? "")) return;
    this.#held.set(uid, {
      pod,
      containers: [],
      initLeft: [...(pod.spec.initContainers ?? [])],
      ending: false,
      told: "",
    });
  }

  async #drive(held: Held): Promise<void> {
    try {
      if (held.pod.spec.hostNetwork) await this.#driveContainers(held);
      else held.sandbox ??= await Sandbox.open(held.pod);
      delete held.trouble;
    } catch (error) {
      held.trouble = String(error); // said in the status, tried again in the next pass
    }
    await this.#tell(held);
  }

  async #driveContainers(held: Held): Promise<void> {
    const { pod, initLeft } = held;
    const [init] = initLeft;
    if (init) return this.#driveInit(held, init);
    for (const spec of pod.spec.containers.slice(held.containers.length))
      held.containers.push({ spec, restarts: 0, ready: false, ...(await this.#start(pod, spec)) });
    for (const container of held.containers) {
      const running = this.#processes.isRunning(container.process);
      if (!running && (pod.spec.restartPolicy ?? "Always") === "Always") {
        container.restarts++;
        delete container.ending;
        Object.assign(container, await this.#start(pod, container.spec));
      }
      if (running && container.life.isOver(performance.now()))
        container.ending ??= this.#runtime.stop(container.process, graceMs(pod)).catch((error) => {
          held.trouble = String(error);
          delete container.ending; // once more in the next pass
        });
      container.ready = running && container.life.hasStarted && (await isReady(this.node, container.spec));
    }
  }

  async #start(pod: Pod, spec: Container): Promise<Pick<RunningContainer, "process" | "life">> {
    const process = await this.#runtime.start(pod, spec);
    return { process, life: new Life(this.node, spec, performance.now()) };
  }

  async #driveInit(held: Held, init: Container): Promise<void> {
    const running = held.containers[0];
    if (!running) {
      held.containers = [{ spec: init, restarts: 0, ready: false, ...(await this.#start(held.pod, init)) }];
      return;
    }
    if (this.#processes.isRunning(running.process)) return;
    held.containers = []; // the next one, or the same once more
    if (this.#ended(running.process) === "exit code 0") held.initLeft.shift();
  }

  #ended = (name: string): string | undefined =>
    this.#processes.status().find((one) => one.name === name)?.ended;

  async #tell(held: Held): Promise<void> {
    const status = this.#status(held);
    const text = JSON.stringify(status);
    if (text === held.told) return;
    await patchStatus(this.#server, pathOf(held.pod), status);
    held.told = text;
    if (["Succeeded", "Failed"].includes(status.phase)) this.#held.delete(held.pod.metadata.uid ?? "");
  }

  #status({ pod, sandbox, containers, initLeft, trouble }: Held) {
    const onHost = pod.spec.hostNetwork === true;
    const addresses = onHost ? [this.#address] : (sandbox?.party.addresses ?? []);
    const started = onHost
      ? initLeft.length === 0 && containers.length === pod.spec.containers.length
      : sandbox !== undefined;
    const once =
      onHost && started && pod.spec.restartPolicy !== undefined && pod.spec.restartPolicy !== "Always";
    const ends = once ? containers.map(({ process }) => this.#ended(process)) : [undefined];
    const over = ends.every((end) => end !== undefined);
    const ready = started && !over && (!onHost || containers.every((container) => container.ready));
    const ran = ends.every((end) => end === "exit code 0") ? "Succeeded" : "Failed";
    return {
      phase: over ? ran : started ? "Running" : "Pending",
      hostIP: this.#address,
      hostIPs: [{ ip: this.#address }],
      ...(addresses.length > 0 && {
        podIP: addresses[0],
        podIPs: addresses.map((address) => ({ ip: address })),
      }),
      conditions: [{ type: "Ready", status: ready ? "True" : "False" }],
      ...(trouble !== undefined && { message: trouble }),
      containerStatuses: containers.map(({ spec, restarts, ready: isUp }) => ({
        ...{ name: spec.name, image: spec.image, imageID: "lab", restartCount: restarts, ready: isUp },
      })),
    };
  }

  async #end(held: Held): Promise<void> {
    if (held.ending) return;
    held.ending = true;
    try {
      await new Promise((resolve) => setTimeout(resolve, preStopMs(held.pod))); // it answers as before
      await Promise.all(held.containers.map(({ process }) => this.#runtime.stop(process, graceMs(held.pod))));
      await held.sandbox?.close();
      this.#runtime.forget(held.pod);
      await remove(this.#server, pathOf(held.pod));
      this.#held.delete(held.pod.metadata.uid ?? "");
    } catch (error) {
      held.trouble = String(error);
      held.ending = false; // once more in the next pass
    }
  }

  async #tellNode(): Promise<void> {
    const ready = conflist(this.node) !== undefined;
    if (ready === this.#toldReady) return;
    const message = ready ? "ready" : "container runtime network not ready: cni plugin not initialized";
    const conditions = [{ type: "Ready", status: ready ? "True" : "False", reason: "Lab", message }];
    const addresses = [
      { type: "InternalIP", address: this.#address },
      { type: "InternalIP", address: this.#address6 },
      { type: "Hostname", address: this.node },
    ];
    await patchStatus(this.#server, `/api/v1/nodes/${this.node}`, { conditions, addresses });
    this.#toldReady = ready;
  }
}

const graceMs = ({ spec }: Pod): number => (spec.terminationGracePeriodSeconds ?? 30) * 1000;
const preStopMs = ({ spec }: Pod): number =>
  1000 * Math.max(0, ...spec.containers.map(({ lifecycle }) => lifecycle?.preStop?.sleep?.seconds ?? 0));
const pathOf = (pod: Pod): string => `/api/v1/namespaces/${pod.metadata.namespace}/pods/${pod.metadata.name}`;
