import { once } from "node:events";
import { chmodSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { dirname } from "node:path";
import { CniError } from "./errors.ts";
import { cniError } from "./failure.ts";
import { decodeCall, encodeReply, FrameReader, fieldOf, type Reply } from "./frame.ts";
import { type Invocation, parseCall } from "./invocation.ts";
import { formatError } from "./result.ts";

export interface CniServerOptions {
  /** Path of the unix socket, made with mode 0600; a stale one is replaced. */
  readonly socket: string;
  /** Never throws: `cniHandler` turns failures into CNI errors. */
  readonly handle: (invocation: Invocation) => Promise<Reply>;
  /** A call that was not understood, or whose caller went away: for the log. */
  readonly onBadCall?: (error: unknown) => void;
}

/** A relay has this long to send its call. */
const CALL_MS = 10_000;

/** Serves the relay's calls, each on its own connection. Throws when another live agent has the socket. */
export async function serveCni(options: CniServerOptions): Promise<{ close(): Promise<void> }> {
  const { socket: path } = options;
  if (await answers(path)) throw new Error(`cni: another process is listening on ${path}`);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    void serveOne(options, socket);
  });
  await listen(server, path);
  return {
    async close() {
      rmSync(path, { force: true });
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** Whether somebody is listening; a socket file whose process is gone refuses. */
async function answers(path: string): Promise<boolean> {
  const socket = connect({ path });
  try {
    await once(socket, "connect");
    return true;
  } catch (error) {
    if (["ENOENT", "ECONNREFUSED"].includes((error as NodeJS.ErrnoException).code ?? "")) return false;
    throw error;
  } finally {
    socket.destroy();
  }
}

/**
 * Made private beside its place, then moved there: at no moment is there no socket, or one that others may
 * use.
 */
async function listen(server: Server, path: string): Promise<void> {
  const fresh = `${path}.${process.pid}`;
  mkdirSync(dirname(path), { recursive: true });
  rmSync(fresh, { force: true });
  server.listen(fresh);
  await once(server, "listening");
  chmodSync(fresh, 0o600);
  renameSync(fresh, path);
}

/** One call. Whatever a client does wrong ends its own connection only. */
async function serveOne({ handle, onBadCall }: CniServerOptions, socket: Socket): Promise<void> {
  socket.setTimeout(CALL_MS, () =>
    socket.destroy(new Error(`no whole call within ${CALL_MS / 1000} seconds`)),
  );
  socket.on("error", (error) => onBadCall?.(error));
  try {
    const body = await readFrame(socket);
    socket.setTimeout(0);
    socket.end(encodeReply(await answer(body, handle)));
  } catch (error) {
    onBadCall?.(error);
    socket.destroy();
  }
}

/** The frame's body, without waiting for the client to end its side: it waits for our answer. */
function readFrame(socket: Socket): Promise<Buffer> {
  const reader = new FrameReader();
  return new Promise((resolve, reject) => {
    socket.on("close", () => reject(new Error("the relay went away before its call was whole")));
    socket.on("data", (chunk: Buffer) => {
      try {
        const body = reader.push(chunk);
        if (body) resolve(body);
      } catch (error) {
        reject(error);
      }
    });
  });
}

async function answer(body: Buffer, handle: CniServerOptions["handle"]): Promise<Reply> {
  const invocation = understand(body);
  return "exitCode" in invocation ? invocation : handle(invocation);
}

/** The invocation, or the CNI error to answer when it is none. */
function understand(body: Buffer): Invocation | Reply {
  const call = decodeCall(body);
  try {
    return parseCall(call);
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    return formatError(fieldOf(Buffer.from(call.stdin).toString(), "cniVersion") ?? "1.0.0", cniError(error));
  }
}
