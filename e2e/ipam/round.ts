import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AnyResource, IPAMConfiguration, IPPool, IPReservation } from "@margay/api";
import { etcdStore, resources, type Store } from "@margay/datastore";
import { audit, deleteNode, Ipam, parsePools, whoHas } from "@margay/ipam";
import { parseAddress } from "@margay/net";
import { scratch } from "@margay/testing";
import type { Program } from "./bundle.ts";
import { ENDPOINTS, NODES, POOLS, resource } from "./cluster.ts";
import { type Etcd, startEtcd } from "./etcd.ts";
import { type Certain, formatLine, judge, parseLines } from "./history.ts";
import { patiently } from "./patience.ts";
import { random } from "./random.ts";

export interface Round {
  readonly seed: number;
  /** That are done: what is refused for lack of addresses, or since etcd is away, does not count. */
  readonly operations: number;
  /** Operations from one kill or change to the next, on average. */
  readonly every: number;
  /** What each of the eight runs. */
  readonly worker: Program;
  readonly say: (text: string) => void;
}

export interface Outcome {
  readonly operations: number;
  readonly kills: number;
  readonly deletions: number;
  readonly changes: number;
  /** Of etcd. */
  readonly restarts: number;
  /** Of the operations, those that gave addresses; and what was tried besides them, in vain. */
  readonly assigned: number;
  readonly failed: number;
  readonly violations: readonly string[];
}

/** Eight processes on one etcd of their own, with kills, pool changes and node deletions, until so many operations are done. */
export async function runRound(round: Round): Promise<Outcome> {
  const directory = scratch(tmpdir(), "soak");
  const etcd = await startEtcd();
  const store = etcdStore({ endpoints: [etcd.endpoint] });
  const cleanUp = () => rmSync(directory, { recursive: true, force: true });
  process.once("exit", cleanUp);
  const soak = new Soak({ ...round, logs: directory, etcd, store });
  try {
    return await soak.run();
  } finally {
    soak.kill();
    await store.close();
    await etcd.remove();
    cleanUp();
    process.off("exit", cleanUp);
  }
}

interface Site extends Round {
  readonly logs: string;
  readonly etcd: Etcd;
  readonly store: Store;
}

class Soak {
  readonly #site: Site;
  readonly #draw: () => number;
  readonly #workers = new Map<string, ChildProcess>();
  /** Nodes whose process has done something since its start: only those are killed, or a busy machine would do nothing else. */
  readonly #busy = new Set<string>();
  readonly #faults: string[] = [];
  #operations = 0;
  #reported: () => void = () => undefined;
  #counts = { kills: 0, deletions: 0, changes: 0, restarts: 0 };

  constructor(site: Site) {
    this.#site = site;
    this.#draw = random(site.seed);
  }

  kill(): void {
    for (const worker of this.#workers.values()) worker.kill("SIGKILL");
  }

  async run(): Promise<Outcome> {
    for (const pool of POOLS) await this.#apply(pool);
    for (const node of NODES) this.#start(node);
    const { operations, every } = this.#site;
    let next = 0;
    while (this.#operations < operations && this.#faults.length === 0) {
      next += every * (0.5 + this.#draw());
      await this.#progress(Math.min(operations, next));
      await this.#disturb();
      this.#site.say(`${this.#operations} operations, ${this.#counts.kills} kills`);
    }
    await Promise.all([...this.#workers.values()].map((worker) => ended(worker, "SIGTERM")));
    return this.#judge();
  }

  /** Until so many operations are done in all, or something is wrong. */
  async #progress(operations: number): Promise<void> {
    while (this.#operations < operations && this.#faults.length === 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#reported = resolve;
      await promise;
    }
  }

  #start(node: string): void {
    const { logs, worker: program, etcd } = this.#site;
    const seed = String(Math.floor(this.#draw() * 2 ** 31));
    const view = this.#draw() < 0.9 ? "watch" : "list";
    const words = [node, etcd.endpoint, join(logs, `${node}.log`), seed, view];
    const worker = fork(program.path, words, { env: program.env, execArgv: ["--no-warnings"] });
    worker.on("message", (count) => {
      this.#operations += Number(count);
      this.#busy.add(node);
      this.#reported();
    });
    worker.on("exit", (code) => {
      if (code) this.#faults.push(`the process of ${node} ended with code ${code}: its own words are above`);
      this.#reported();
    });
    this.#workers.set(node, worker);
  }

  async #disturb(): Promise<void> {
    const [what, which] = [this.#draw(), this.#draw()];
    const node = [...this.#busy].sort()[Math.floor(which * this.#busy.size)];
    if (what < 0.5 && node !== undefined) {
      this.#busy.delete(node);
      await ended(this.#workers.get(node), "SIGKILL");
      this.#counts.kills++;
      if (what < 0.15) await this.#deleteNode(node);
      this.#start(node);
    } else if (what > 0.68 && what < 0.7) {
      this.#counts.restarts++;
      await this.#site.etcd.restart();
    } else if (what > 0.7) {
      this.#counts.changes++;
      await this.#change(this.#draw());
    }
  }

  async #deleteNode(node: string): Promise<void> {
    this.#counts.deletions++;
    const line = { at: process.hrtime.bigint(), kind: "delete-node", handle: node, addresses: [] } as const;
    appendFileSync(join(this.#site.logs, "deletions.log"), formatLine(line));
    const { store } = this.#site;
    await patiently(() => deleteNode({ store, now: () => new Date() }, node));
    await patiently(async () => {
      for (const { key } of (await store.list(`${ENDPOINTS}${node}.`)).entries) await store.delete(key);
    });
  }

  async #change(which: number): Promise<void> {
    const flag = this.#draw() < 0.5;
    const [, second] = POOLS;
    if (which < 0.3 && second)
      return this.#apply(resource<IPPool>("IPPool", "four-b", { ...second.spec, disabled: flag }));
    if (which < 0.6) {
      const reservedCIDRs = flag ? ["10.0.0.8/30", "fd00::10/124"] : [];
      return this.#apply(resource<IPReservation>("IPReservation", "r", { reservedCIDRs }));
    }
    const settings = {
      ...{ strictAffinity: flag, ipCooldownSeconds: this.#draw() < 0.3 ? 1 : 0 },
      maxBlocksPerHost: flag && this.#draw() < 0.5 ? 2 : 0,
      hostReserved: this.#draw() < 0.3 ? { first: 2, last: 1 } : { first: 0, last: 0 },
    };
    return this.#apply(resource<IPAMConfiguration>("IPAMConfiguration", "default", settings));
  }

  async #apply(wanted: AnyResource): Promise<void> {
    const all = resources(this.#site.store, wanted.kind);
    await patiently(() => all.apply(wanted as never)); // the collection is of its kind
  }

  async #judge(): Promise<Outcome> {
    const { logs, store } = this.#site;
    const lines = readdirSync(logs).flatMap((name) => parseLines(readFileSync(join(logs, name), "utf8")));
    const { violations, end } = judge(lines);
    const assigned = lines.filter(({ kind }) => kind === "assigned").length;
    const failed = lines.filter(({ kind }) => kind.endsWith("-failed")).length;
    const inStore = await patiently(() => contradictions(store, end));
    return {
      ...{ operations: this.#operations, assigned, failed, ...this.#counts },
      violations: [...this.#faults, ...violations, ...inStore],
    };
  }
}

async function ended(worker: ChildProcess | undefined, signal: NodeJS.Signals): Promise<void> {
  if (!worker || worker.exitCode !== null || worker.signalCode !== null) return;
  const exit = once(worker, "exit");
  worker.kill(signal);
  await exit;
}

/** What is certain by the processes' logs, and what the datastore has; and every invariant, after each node healed. */
async function contradictions(store: Store, end: ReadonlyMap<string, Certain>): Promise<string[]> {
  const pools = await resources(store, "IPPool").list();
  const config = resource<IPAMConfiguration>("IPAMConfiguration", "default", {}).spec;
  for (const node of NODES) {
    const now = () => new Date();
    const ipam = new Ipam({ store, node, now, pools: () => pools, config: () => config, labels: () => ({}) });
    await ipam.release({ handle: "nobody" }); // heals what the last kill left
  }
  const blocks = (await resources(store, "IPAMBlock").list()).map(({ spec }) => spec);
  const affinities = (await resources(store, "BlockAffinity").list()).map(({ spec }) => spec);
  const handles = new Set(
    blocks.flatMap((block) => Object.values(block.allocations).map(({ handle }) => handle)),
  );
  const wrong = [...end].flatMap(([handle, certain]) => {
    if (certain.kind === "free")
      return handles.has(handle) ? [`${handle} was released, but holds an address`] : [];
    if (certain.kind === "unknown") return [];
    return certain.addresses
      .filter((address) => whoHas(blocks, parseAddress(address))?.handle !== handle)
      .map((address) => `${handle} was given ${address}, but does not hold it`);
  });
  const untrue = (await store.list(ENDPOINTS)).entries.flatMap(({ key, value }) => {
    const handle = key.slice(ENDPOINTS.length);
    return value
      .split(",")
      .filter((address) => whoHas(blocks, parseAddress(address))?.handle !== handle)
      .map((address) => `the endpoint of ${handle} has ${address}, which IPAM does not hold for it`);
  });
  const strangers = [...handles]
    .filter((handle) => !end.has(handle))
    .map((handle) => `${handle} is nobody's`);
  const nodes = new Set(NODES);
  const problems = audit({
    pools: parsePools(pools),
    blocks,
    affinities,
    nodes,
    endpoints: new Map(),
    podCidrs: [],
  });
  const broken = problems.filter(({ code }) => code !== "leaked").map((problem) => JSON.stringify(problem));
  return [...wrong, ...untrue, ...strangers, ...broken];
}
