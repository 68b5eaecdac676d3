/**
 * From a route received to a route in the kernel: bgpd as it is run, in a network namespace of its own, between two peers that
 * are played here. Times end with the kernel's own notification, or with its own count of routes.
 *
 *     kernel.ts quick|full      prints JSON lines (../result.ts)
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Attributes, frame, packPrefixes, writeAnnouncements, writeWithdrawals } from "@margay/bgp";
import { formatPrefix, type Prefix, parseAddress } from "@margay/net";
import { cpuMs, rssMb } from "../process-table.ts";
import { type Result, summary } from "../result.ts";
import { inOwnNetwork } from "./own-network.ts";
import { ourMark, RouteWatch } from "./route-watch.ts";
import { SimulatedPeer } from "./speaker.ts";

const main = fileURLToPath(new URL("../../../packages/margay/src/main.ts", import.meta.url));
const limitMs = 120_000;
const listenAt = { address: "127.0.0.1", port: 1790 };
/** Of the session, and of the next hops, which lie on the interface d0. */
const players = [
  { address: "127.1.0.1", as: 65101, hop: "10.0.0.2" },
  { address: "127.1.0.2", as: 65102, hop: "10.0.0.3" },
] as const;
type Player = (typeof players)[number];

const routerYaml = `
local: { as: 65000, router-id: 192.0.2.1, listen-port: ${listenAt.port} }
families: [ipv4]
ebgp-policy: accept-all
neighbors:
${players.map(({ address, as }) => `  - { address: ${address}, as: ${as}, passive: true }`).join("\n")}
`;

/** The n-th of a million distinct /24s, and those of single routes from the other end. */
const nth = (n: number): Prefix => ({ family: 4, bits: BigInt(0x140000 + n) << 8n, length: 24 });
const context = { as4: true, internal: false };

function announcement(prefixes: readonly Prefix[], { as, hop }: Player): Uint8Array {
  const attributes: Attributes = {
    ...{ origin: "igp", asPath: [{ kind: "sequence", ases: [as] }], nextHop: { address: parseAddress(hop) } },
  };
  const bodies = writeAnnouncements({ nlri: packPrefixes(4, prefixes), attributes }, context);
  return Buffer.concat(bodies.map((body) => frame("update", body)));
}

const withdrawal = (prefixes: readonly Prefix[]): Uint8Array =>
  Buffer.concat(writeWithdrawals(packPrefixes(4, prefixes)).map((body) => frame("update", body)));

/** Routes in the main table, as the kernel counts them. */
const inKernel = (): number =>
  Number(/Main:[\s\S]*?Prefixes:\s+(\d+)/.exec(readFileSync("/proc/net/fib_triestat", "utf8"))?.[1] ?? 0);

/** Milliseconds by the clock and of bgpd's CPU. */
interface Cost {
  readonly ms: number;
  readonly cpuMs: number;
}

class Scene {
  readonly #dir = mkdtempSync(join(tmpdir(), "margay-bench-"));
  readonly #daemon: ChildProcess;

  constructor() {
    const file = join(this.#dir, "router.yaml");
    writeFileSync(file, routerYaml);
    const flags = ["--config-file", file, "--run-dir", this.#dir, "--health-port", "0"];
    const words = [
      "--pdeathsig",
      "KILL",
      "--",
      process.execPath,
      "--conditions=margay-source",
      "--no-warnings",
    ];
    const log = ["ignore", "ignore", "inherit"] as const;
    this.#daemon = spawn("setpriv", [...words, main, "bgpd", ...flags], { stdio: [...log] });
  }

  get rssMb(): number {
    return rssMb(`${this.#daemon.pid}`);
  }

  /** From the call until `done`. */
  async cost(act: () => void, done: () => Promise<unknown>): Promise<Cost> {
    const cpu = cpuMs(`${this.#daemon.pid}`);
    const began = performance.now();
    act();
    await done();
    return { ms: performance.now() - began, cpuMs: cpuMs(`${this.#daemon.pid}`) - cpu };
  }

  async stop(): Promise<void> {
    const gone = new Promise((resolve) => this.#daemon.once("exit", resolve));
    if (this.#daemon.kill("SIGKILL")) await gone;
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

/** Until the kernel has so many routes: it is asked, every 20 ms. */
async function routesAre(count: number): Promise<void> {
  for (const end = performance.now() + limitMs; inKernel() !== count; await delay(20))
    if (performance.now() > end) throw new Error(`${inKernel()} routes in the kernel, not ${count}`);
}

const hopsIn = (text: string): number => text.split(" via ").length - 1;

/** Until the route that is written last has so many next hops; `allHave` says whether it was the last. */
async function hopsAre(table: readonly Prefix[], count: number): Promise<void> {
  const [last] = formatPrefix(table.at(-1)!).split("/"); // no table is empty
  const asked = () => hopsIn(ip("route", "get", "fibmatch", `${last}`));
  for (const end = performance.now() + limitMs; asked() !== count; await delay(20))
    if (performance.now() > end) throw new Error(`${last} has ${asked()} next hops, not ${count}`);
}

function allHave(count: number, routes: number): void {
  const found = hopsIn(ip("route", "show", "proto", `${ourMark}`));
  if (found !== count * routes) throw new Error(`${found} next hops of ${routes} routes, not ${count} each`);
}

/** Single routes, announced and withdrawn, at times that have nothing to do with what bgpd does. */
async function singles(peer: SimulatedPeer, watch: RouteWatch, count: number): Promise<number[]> {
  const took: number[] = [];
  for (let i = 0; i < count; i++) {
    const prefix = nth(0xa0000 + i);
    for (const [change, bytes] of [
      ["new", announcement([prefix], players[0])],
      ["deleted", withdrawal([prefix])],
    ] as const) {
      await delay(5 + ((i * 7) % 13));
      const seen = watch.next(change, prefix);
      const began = performance.now();
      peer.send(bytes);
      took.push((await seen) - began);
    }
  }
  return took;
}

/** Routes that somebody deletes, from the command's start until they are back. */
async function repairs(table: readonly Prefix[], watch: RouteWatch): Promise<number[]> {
  const took: number[] = [];
  for (const prefix of table) {
    const back = watch.next("new", prefix);
    const began = performance.now();
    ip("route", "del", formatPrefix(prefix), "proto", `${ourMark}`);
    took.push((await back) - began);
  }
  return took;
}

const ip = (...words: string[]) => execFileSync("ip", words, { encoding: "utf8", maxBuffer: 2 ** 28 });

const load = () => Math.round((loadavg()[0] ?? 0) * 100) / 100;

function print(
  subject: string,
  unit: Result["unit"],
  values: readonly number[],
  target?: Result["target"],
): void {
  const result: Result = { benchmark: "bgp-kernel", subject, unit, load: load(), ...summary(values) };
  process.stdout.write(`${JSON.stringify(target ? { ...result, target } : result)}\n`);
}

function printCost(subject: string, { ms, cpuMs: cpu }: Cost): void {
  print(subject, "ms", [ms]);
  print(`${subject} (CPU)`, "ms", [cpu]);
}

async function run(size: "quick" | "full"): Promise<void> {
  const many = size === "quick" ? 10_000 : 100_000;
  const each = size === "quick" ? 50 : 500;
  const target = { of: "p99", atMost: 50 } as const;
  const repaired = { of: "p99", atMost: 1000 } as const;
  const scene = new Scene();
  let watch = new RouteWatch(); // not while thousands of routes change: it would be told of each
  const table = Array.from({ length: many }, (_, n) => nth(n));
  const [one, two] = players.map((player) => announcement(table, player)) as [Uint8Array, Uint8Array]; // two players
  const manner = { feed: new Uint8Array(), holdSeconds: 90 };
  const peers = await Promise.all(players.map((p) => SimulatedPeer.open(p, listenAt, manner)));
  const [first, second] = peers as [SimulatedPeer, SimulatedPeer];
  try {
    await Promise.all(peers.map((peer) => peer.up));
    const before = inKernel();
    await singles(first, watch, 50); // what V8 compiles then is not the network's
    print("beside 0 routes", "ms", await singles(first, watch, each), target);
    watch.close();
    const name = `${many.toLocaleString("en")} routes`;
    printCost(
      `${name} at once`,
      await scene.cost(
        () => first.send(one),
        () => routesAre(before + many),
      ),
    );
    await delay(1000);
    watch = new RouteWatch();
    print(`beside ${name}`, "ms", await singles(first, watch, each), target);
    print(`beside ${name}: one deleted`, "ms", await repairs(table.slice(0, 50), watch), repaired);
    watch.close();
    ip("nexthop", "flush", "proto", `${ourMark}`);
    const back = await scene.cost(
      () => {},
      () => routesAre(before + many),
    );
    print(`${name}: all deleted`, "ms", [back.ms], repaired);
    await delay(1000);
    for (const [what, act, hops] of [
      ["a second next hop", () => second.send(two), 2],
      ["a next hop gone", () => second.close(), 1],
    ] as const) {
      printCost(`${name}: ${what}`, await scene.cost(act, () => hopsAre(table, hops)));
      allHave(hops, many);
      await delay(2000);
    }
    print("resident", "MB", [scene.rssMb]);
    printCost(
      `${name} withdrawn`,
      await scene.cost(
        () => first.close(),
        () => routesAre(before),
      ),
    );
  } finally {
    for (const peer of peers) peer.close();
    await scene.stop();
  }
}

await inOwnNetwork(async () => {
  const up = "ip link add d0 type veth peer name d1; ip addr add 10.0.0.1/24 dev d0";
  execFileSync("sh", ["-ec", `${up}; ip link set d0 up; ip link set d1 up`]);
  await run(process.argv[2] === "quick" ? "quick" : "full");
});
