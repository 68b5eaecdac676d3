import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { scratch } from "@margay/testing";

/** A real etcd on loopback, for one run. */
export interface Etcd {
  readonly endpoint: string;
  /** Kills it, and starts it on the same data. Resolves when it serves again. */
  restart(): Promise<void>;
  /** Ends it and removes its files. */
  remove(): Promise<void>;
}

/** Starts etcd on free ports, without the disk's delays, and waits until it serves. It dies with this process; so do its files, unless that is killed. */
export async function startEtcd(): Promise<Etcd> {
  const directory = scratch(tmpdir(), "soak-etcd");
  const [port, peer] = [await freePort(), await freePort()];
  const urls = { client: `http://127.0.0.1:${port}`, peer: `http://127.0.0.1:${peer}` };
  const words = [
    ...["etcd", "--data-dir", directory, "--log-level", "error", "--unsafe-no-fsync"],
    ...["--listen-client-urls", urls.client, "--advertise-client-urls", urls.client],
    ...["--listen-peer-urls", urls.peer, "--initial-advertise-peer-urls", urls.peer],
    ...["--initial-cluster", `default=${urls.peer}`, "--quota-backend-bytes", String(4 * 2 ** 30)],
  ];
  const start = () => spawn("setpriv", ["--pdeathsig", "KILL", "--", ...words], { stdio: "ignore" });
  let child = start();
  const kill = async () => {
    const exit = once(child, "exit");
    child.kill("SIGKILL");
    await exit;
  };
  const cleanUp = () => rmSync(directory, { recursive: true, force: true });
  process.once("exit", cleanUp);
  await healthy(urls.client, child);
  return {
    endpoint: urls.client,
    async restart() {
      await kill();
      child = start();
      await healthy(urls.client, child);
    },
    async remove() {
      await kill();
      cleanUp();
      process.off("exit", cleanUp);
    },
  };
}

/** It listens before it has elected itself; only then does it serve. */
async function healthy(url: string, child: ChildProcess): Promise<void> {
  for (let tries = 0; tries < 2400; tries++) {
    if (child.exitCode !== null) throw new Error(`etcd for ${url} ended: exit code ${child.exitCode}`);
    const answer = await fetch(`${url}/health`).catch(() => undefined); // refused: not yet
    if (answer?.ok && (await answer.text()).includes('"true"')) return;
    await delay(50);
  }
  throw new Error(`etcd at ${url} did not serve within two minutes`);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number }; // a TCP server's address is never a string
  server.close();
  return port;
}
