import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/** A real etcd on loopback, for one run. */
export interface Etcd {
  readonly endpoint: string;
  /** Ends it and removes its files. */
  remove(): Promise<void>;
}

/** Starts etcd on free ports, without the disk's delays. It dies with this process; so do its files, unless that is killed. */
export async function startEtcd(): Promise<Etcd> {
  const directory = mkdtempSync(join(tmpdir(), "margay-soak-etcd-"));
  const [port, peer] = [await freePort(), await freePort()];
  const urls = { client: `http://127.0.0.1:${port}`, peer: `http://127.0.0.1:${peer}` };
  const words = [
    ...["etcd", "--data-dir", directory, "--log-level", "error", "--unsafe-no-fsync"],
    ...["--listen-client-urls", urls.client, "--advertise-client-urls", urls.client],
    ...["--listen-peer-urls", urls.peer, "--initial-advertise-peer-urls", urls.peer],
    ...["--initial-cluster", `default=${urls.peer}`, "--quota-backend-bytes", String(4 * 2 ** 30)],
  ];
  const child = spawn("setpriv", ["--pdeathsig", "KILL", "--", ...words], { stdio: "ignore" });
  const cleanUp = () => rmSync(directory, { recursive: true, force: true });
  process.once("exit", cleanUp);
  await listening(port);
  return {
    endpoint: urls.client,
    async remove() {
      const exit = once(child, "exit");
      child.kill("SIGKILL");
      await exit;
      cleanUp();
      process.off("exit", cleanUp);
    },
  };
}

async function listening(port: number): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const socket = connect(port, "127.0.0.1");
    const up = await once(socket, "connect").then(
      () => true,
      () => false, // refused: not yet
    );
    socket.destroy();
    if (up) return;
    await delay(50);
  }
  throw new Error(`etcd did not listen on port ${port} within 10 s`);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number }; // a TCP server's address is never a string
  server.close();
  return port;
}
