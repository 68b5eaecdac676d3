import { once } from "node:events";
import { unlinkSync } from "node:fs";
import { type AddressInfo, connect, type Server } from "node:net";

/**
 * Listens on a unix socket that only our user may open; replaces the file that a killed predecessor left, but
 * not a living one's.
 */
export async function listenUnix(server: Server, path: string): Promise<void> {
  if (await isStale(path)) unlinkSync(path);
  const umask = process.umask(0o177); // from its first moment on the socket is ours alone
  const listening = once(server, "listening");
  try {
    server.listen(path); // binds before it returns
  } finally {
    process.umask(umask);
  }
  await listening;
}

/** True for a socket file that nobody listens on. Throws when somebody does. */
async function isStale(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await once(socket, "connect");
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ECONNREFUSED";
  } finally {
    socket.destroy();
  }
  throw new Error(`${path} is in use: another daemon of this name is running with the same --run-dir`);
}

/**
 * Listens on a TCP address; the error names what to change. @returns the port, where 0 was asked for the one
 * taken
 */
export async function listenTcp(
  server: Server,
  { address, port }: { address: string; port: number },
): Promise<number> {
  server.listen(port, address);
  try {
    await once(server, "listening");
  } catch (error) {
    throw new Error(
      `cannot listen on ${address} port ${port} (--health-address, --health-port): ${String(error)}`,
      { cause: error },
    );
  }
  return (server.address() as AddressInfo).port; // a TCP server's address is never a string
}

/** Ends a server and its connections. */
export async function close(server: Server & { closeAllConnections?(): void }): Promise<void> {
  if (!server.listening) return;
  const closed = once(server, "close");
  server.close();
  server.closeAllConnections?.();
  await closed;
}
