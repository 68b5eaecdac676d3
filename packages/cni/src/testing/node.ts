import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type IPAMConfiguration, type IPPool, keyOf, parse, type WorkloadEndpoint } from "@margay/api";
import { type MemoryStore, memoryStore, resources } from "@margay/datastore";
import { BlockCache, heldIn, Ipam } from "@margay/ipam";
import { contains, parsePrefix } from "@margay/net";
import { deleteNamespace, inNamespace, listLinks, Netlink, newNamespace } from "@margay/netlink";
import type { CniDeps } from "../deps.ts";
import { cniHandler } from "../handler.ts";
import { inspect, owned, ownerOf } from "../inspect.ts";
import { spoolOf } from "../keep.ts";
import { serveCni } from "../server.ts";
import { Spool } from "../spool.ts";
import { unwirer } from "../unwirer.ts";
import { unwireInside, wire } from "../wire.ts";

const resource = (kind: string, name: string, spec: object) =>
  parse({ apiVersion: "margay.dev/v1", kind, metadata: { name }, spec }).resource;
const POOLS = [
  resource("IPPool", "four", { cidr: "10.244.0.0/24", blockSize: 28 }),
  resource("IPPool", "asked", { cidr: "10.245.0.0/24", blockSize: 28, assignmentMode: "Manual" }),
  resource("IPPool", "six", { cidr: "fd00:10:244::/120", blockSize: 124 }),
  resource("IPPool", "asked6", { cidr: "fd00:10:245::/120", blockSize: 124, assignmentMode: "Manual" }),
] as IPPool[]; // just parsed as such
const CONFIG = (resource("IPAMConfiguration", "default", {}) as IPAMConfiguration).spec; // likewise

export const BIN = "/run/bin";
export const SOCKET = "/run/margay/cni.sock";

/** containernetworking-plugins. */
export const UPSTREAM = "/usr/lib/cni";

export interface ListRun {
  readonly list: {
    readonly cniVersion: string;
    readonly name: string;
    readonly plugins: readonly {
      readonly type: string;
      readonly capabilities?: Readonly<Record<string, boolean>>;
      readonly ipam?: object;
    }[];
  };
  readonly sandbox: string;
  readonly capabilities?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
  /** Of the ADD, for CHECK and DEL. */
  readonly result?: object;
}

export interface Answer {
  readonly code: number | null;
  readonly stdout: string;
}

export interface Called {
  /** Also the container's ID, unless it says another. */
  readonly sandbox: string;
  readonly pod?: string;
  readonly plugin?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** On top of the least configuration there is. */
  readonly conf?: object;
  /** On standard input in its stead. */
  readonly text?: string;
}

/**
 * A node for tests: the compiled relay, a real server, real IPAM and the real kernel; the store is in memory, so that it
 * can fail on demand, and no agent makes routes and rules. To be used inside `unshared`.
 */
export class TestNode {
  store!: MemoryStore; // by `start`, which comes first
  spool!: Spool; // likewise
  /** What was thrown away. */
  readonly bad: unknown[] = [];
  readonly netlink = Netlink.open();
  #server: { close(): Promise<void> } | undefined;
  readonly #sandboxes = new Set<string>();

  /** Compiles the relay, once a process. */
  static install(): void {
    mkdirSync(BIN);
    const source = fileURLToPath(new URL("../../relay/relay.c", import.meta.url));
    execFileSync("gcc", ["-static", "-Os", "-s", "-o", `${BIN}/margay-cni`, source]);
    symlinkSync("margay-cni", `${BIN}/margay-ipam`);
  }

  /** Whether DELs are answered before they are done, as the agent does. */
  answersFirst = false;

  /** Starts the server, with an empty store unless told to keep the one there is. */
  async start({ keep = false, deps = {} }: { keep?: boolean; deps?: Partial<CniDeps> } = {}): Promise<void> {
    if (!keep) this.store = memoryStore();
    if (!keep) this.#cache = new BlockCache({ node: "n1" });
    const handle = cniHandler({ ...this.deps(), ...deps });
    this.spool = new Spool({
      directory: spoolOf(SOCKET),
      handle,
      answersFirst: this.answersFirst,
      now: () => performance.now(),
      onBadCall: (error) => this.bad.push(error),
    });
    this.#server = await serveCni({ socket: SOCKET, handle: this.spool.handle });
  }

  async stop(): Promise<void> {
    await this.#server?.close();
    this.#server = undefined;
  }

  /** Until all DELs that were answered are done. Nothing to wait for when the server is down: they are kept then. */
  async settled(): Promise<void> {
    const isKept = () => this.#server !== undefined && readdirSync(spoolOf(SOCKET)).length > 0;
    for (let tries = 0; isKept(); tries++) {
      if (tries === 1000) throw new Error("a DEL was not done within five seconds");
      await delay(5);
    }
  }

  /** After each test. */
  async clear(): Promise<void> {
    await this.stop();
    for (const name of this.#sandboxes) deleteNamespace(`/run/netns/${name}`);
    this.#sandboxes.clear();
  }

  /** IPAMConfiguration. */
  config = CONFIG;

  deps(): CniDeps {
    const { store, netlink } = this;
    const surroundings = {
      store,
      node: "n1",
      now: () => new Date(),
      labels: () => ({}),
      blocks: this.#cache,
    };
    return {
      ...surroundings,
      ipam: new Ipam({ ...surroundings, pools: () => POOLS, config: () => this.config }),
      held: () => this.#held(),
      blockOf: (address) => {
        const prefixes = [...this.#cache.mine()].map(({ value }) => parsePrefix(value.cidr));
        const prefix = prefixes.find((one) => contains(one, address));
        return prefix && { prefix, reserved: this.config.hostReserved };
      },
      podCidrs: () => ["10.9.0.0/24", "fd00:9::/64"],
      endpoints: resources(store, "WorkloadEndpoint"),
      localEndpoints: () =>
        new Map(
          this.#endpoints.map(
            (one) => [keyOf(one.kind, one.metadata.name, one.metadata.namespace), one] as const,
          ),
        ),
      wire: (wiring) => wire(netlink, wiring),
      unwire: unwirer(netlink),
      unwireInside,
      ownerOf: (name) => ownerOf(netlink, name),
      owned: () => owned(netlink),
      inspect: (wired) => inspect(netlink, wired),
      missing: async () => [],
      ready: async () => undefined,
      families: () => [4, 6],
      interfacePrefix: () => "cali",
      mtu: () => 1450,
    };
  }

  /** A network namespace under /run/netns. */
  sandbox(name: string): string {
    newNamespace(`/run/netns/${name}`);
    this.#sandboxes.add(name);
    return name;
  }

  /** One call of the executable, as a runtime makes it. */
  async cni(command: string, call: Called): Promise<Answer> {
    const { sandbox, pod = sandbox, plugin = "margay-cni", env = {}, conf = {}, text } = call;
    await this.observe();
    const found = [BIN, UPSTREAM].map((folder) => join(folder, plugin)).find(existsSync) ?? plugin;
    const child = spawn(found, [], {
      env: {
        ...{ CNI_COMMAND: command, CNI_CONTAINERID: sandbox, CNI_NETNS: `/run/netns/${sandbox}` },
        ...{
          CNI_IFNAME: "eth0",
          CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=${pod}`,
          CNI_PATH: `${BIN}:${UPSTREAM}`,
        },
        ...{ PATH: process.env.PATH, ...env },
      },
    });
    const whole = { cniVersion: "1.1.0", name: "net", type: "margay-cni", ...conf };
    child.stdin.end(text ?? JSON.stringify(whole));
    let stdout = "";
    child.stdout.on("data", (chunk) => (stdout += chunk));
    return new Promise((resolve) => child.on("close", (code) => resolve({ code, stdout })));
  }

  /** Executes a list of plugins, as a runtime's library does; stops at the first failure. DEL goes backwards. */
  async list(command: "ADD" | "CHECK" | "DEL", run: ListRun): Promise<Answer> {
    const { list, sandbox, capabilities = {}, result } = run;
    let prevResult = result;
    let answer: Answer = { code: 0, stdout: "" };
    for (const plugin of command === "DEL" ? list.plugins.toReversed() : list.plugins) {
      const wanted = Object.entries(capabilities).filter(([name]) => plugin.capabilities?.[name]);
      const runtimeConfig = Object.fromEntries(wanted);
      const conf = { ...plugin, cniVersion: list.cniVersion, name: list.name };
      answer = await this.cni(command, {
        ...{ sandbox, plugin: plugin.type, env: run.env ?? {} },
        conf: { ...conf, ...(wanted.length > 0 && { runtimeConfig }), ...(prevResult && { prevResult }) },
      });
      if (answer.code !== 0) return answer;
      if (command === "ADD") prevResult = JSON.parse(answer.stdout) as object;
    }
    return answer;
  }

  /** Everything there is: veths of ours, addresses in use, endpoints. */
  async world(): Promise<{ links: number; addresses: number; endpoints: string[] }> {
    await this.observe();
    const links = (await listLinks(this.netlink)).filter(({ name }) => name.startsWith("cali"));
    const names = this.#endpoints.map(({ metadata }) => metadata.name);
    return { links: links.length, addresses: this.#held().length, endpoints: names };
  }

  /** In a sandbox, or on the node without one. */
  sh(command: string, sandbox?: string): string {
    const run = () => execFileSync("sh", ["-c", command], { encoding: "utf8" });
    return sandbox === undefined ? run() : inNamespace(`/run/netns/${sandbox}`, run);
  }

  #endpoints: WorkloadEndpoint[] = [];
  #cache = new BlockCache({ node: "n1" });

  /** What the agent's watch would bring. */
  async observe(): Promise<void> {
    this.#endpoints = await resources(this.store, "WorkloadEndpoint").list(undefined, () => {}); // as the agent: without the unreadable
    const { entries } = await this.store.list("/margay/v1/ipam");
    this.#cache.apply(entries.map((entry) => ({ key: entry.key, entry })));
  }

  #held() {
    return [...this.#cache.mine()].flatMap(({ value: block }) =>
      heldIn(block).map(({ address, handle }) => {
        const { attributes } = Object.values(block.allocations).find((one) => one.handle === handle)!; // it holds it
        return { address, handle, containerId: attributes.containerID };
      }),
    );
  }
}

export const NOTHING = { links: 0, addresses: 0, endpoints: [] };
