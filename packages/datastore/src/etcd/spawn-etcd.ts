import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export interface SpawnedEtcd {
  readonly endpoint: string;
  /** Starts it again on the same port and files. */
  start(): Promise<void>;
  /** Ends it at once, as a power cut would. */
  kill(): Promise<void>;
  /** SIGSTOP: resolves once it stands still; SIGCONT. */
  signal(name: "SIGSTOP" | "SIGCONT"): Promise<void>;
  /** Ends it and removes its files. */
  remove(): Promise<void>;
}

export interface SpawnOptions {
  /** Further flags, e.g. for TLS. */
  readonly flags?: readonly string[];
  readonly scheme?: "http" | "https";
}

/** This process and when it began, by which the next test run finds what a killed one left (@margay/testing, scratch). */
function owner(): string {
  const stat = readFileSync("/proc/self/stat", "utf8");
  return `${process.pid}-${stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]}`; // field 22, proc(5)
}

/**
 * A real etcd on loopback, on free ports, in a directory of its own: for tests and benchmarks. Its files die
 * with this process.
 */
export async function spawnEtcd({ flags = [], scheme = "http" }: SpawnOptions = {}): Promise<SpawnedEtcd> {
  const directory = mkdtempSync(
    join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), `margay-etcd-${owner()}-`),
  );
  const clientPort = await freePort();
  const peer = `http://127.0.0.1:${await freePort()}`;
  const endpoint = `${scheme}://127.0.0.1:${clientPort}`;
  const args = [
    "--data-dir",
    directory,
    "--listen-client-urls",
    endpoint,
    "--advertise-client-urls",
    endpoint,
  ];
  args.push(
    "--listen-peer-urls",
    peer,
    "--initial-advertise-peer-urls",
    peer,
    "--initial-cluster",
    `default=${peer}`,
  );
  args.push("--log-level", "error", ...flags);
  let child: ChildProcess | undefined;

  const cleanUp = () => {
    child?.kill("SIGKILL");
    rmSync(directory, { recursive: true, force: true });
  };
  process.once("exit", cleanUp);

  const etcd: SpawnedEtcd = {
    endpoint,
    async start() {
      child = spawn("setpriv", ["--pdeathsig", "KILL", "etcd", ...args], { stdio: "ignore" });
      await listening(clientPort, child);
    },
    async kill() {
      if (child === undefined) return;
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
      child = undefined;
    },
    async signal(name) {
      child?.kill(name);
      while (name === "SIGSTOP" && !standsStill(child?.pid ?? 0)) await sleep(5);
    },
    async remove() {
      await etcd.kill();
      cleanUp();
      process.off("exit", cleanUp);
    },
  };
  try {
    await etcd.start();
    return etcd;
  } catch (error) {
    await etcd.remove();
    throw error;
  }
}

/** kill(2) returns before the threads have stopped: a request may still slip through until each says T (proc(5)). */
const standsStill = (pid: number): boolean =>
  readdirSync(`/proc/${pid}/task`).every((thread) =>
    /\) T /.test(readFileSync(`/proc/${pid}/task/${thread}/stat`, "utf8")),
  );

/** Until it accepts connections; calls then wait by themselves for its election. */
async function listening(port: number, child: ChildProcess): Promise<void> {
  for (let tries = 0; tries < 2400; tries++) {
    if (child.exitCode !== null) throw new Error(`etcd exited with code ${child.exitCode}`);
    const socket = connect(port, "127.0.0.1");
    const up = await once(socket, "connect").then(
      () => true,
      () => false, // refused: not yet
    );
    socket.destroy();
    if (up) return;
    await sleep(50);
  }
  throw new Error(`etcd did not listen on port ${port} within two minutes`);
}

/** A port that nobody listened on a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number }; // a TCP server's address is never a string
  server.close();
  return port;
}
