import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export interface CountingProxy {
  readonly endpoint: string;
  /** When each connection was made, in ms of `performance.now()`. */
  readonly connects: readonly number[];
  close(): Promise<void>;
}

/**
 * A TCP proxy in front of one port of loopback that counts who comes, also while nobody is behind it: for
 * tests.
 */
export async function countingProxy(target: number, listen = 0): Promise<CountingProxy> {
  const connects: number[] = [];
  const open = new Set<Socket>();
  const server = createServer((near) => {
    connects.push(performance.now());
    const far = connect(target, "127.0.0.1");
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(socket);
      socket.pipe(other);
      socket.on("error", () => other.destroy()).on("close", () => open.delete(socket) && other.destroy());
    }
  });
  server.listen(listen, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number }; // a TCP server's address is never a string
  return {
    endpoint: `http://127.0.0.1:${port}`,
    connects,
    async close() {
      for (const socket of open) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
