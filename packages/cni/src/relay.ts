import { once } from "node:events";
import { connect } from "node:net";
import { basename } from "node:path";
import {
  type Call,
  decodeReply,
  encodeCall,
  FrameReader,
  fieldOf,
  MAX_FRAME,
  type Reply,
  socketOf,
} from "./frame.ts";
import { keep, spoolOf } from "./keep.ts";

/** CNI versions this plugin speaks. */
export const VERSIONS = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;

/** CNI's codes for "the runtime should try the same call again", and for STATUS. */
const TRY_AGAIN_LATER = 11;
const UNAVAILABLE = 50;

/** As relay.c. */
const CONNECT_MS = 10_000;
const ANSWER_MS = 90_000;

/**
 * Does what relay/relay.c does, for machines without a compiler. Never throws: what goes wrong is a CNI
 * error to print.
 */
export async function relay(call: Call & { argv0: string }): Promise<Reply> {
  const { env, stdin, argv0 } = call;
  if (env.CNI_COMMAND === "VERSION")
    return {
      exitCode: 0,
      stdout: `${JSON.stringify({ cniVersion: "1.1.0", supportedVersions: VERSIONS })}\n`,
    };
  const conf = Buffer.from(stdin).toString();
  const cni = Object.entries(env).filter(([name]) => name.startsWith("CNI_"));
  const whole = { env: { ...Object.fromEntries(cni), MARGAY_ARGV0: basename(argv0) }, stdin };
  if (stdin.length >= MAX_FRAME) return failure(call, "stdin: configuration larger than 1 MiB");
  const socket = socketOf(env, conf);
  const frame = encodeCall(whole);
  try {
    return decodeReply(await exchange(socket, frame));
  } catch (error) {
    if (env.CNI_COMMAND === "DEL" && keep(spoolOf(socket), whole.env, frame))
      return { exitCode: 0, stdout: "" };
    return failure(call, why(socket, error));
  }
}

/** Sends a request and waits for the answer, both for a bounded time. */
async function exchange(path: string, request: Buffer): Promise<Buffer> {
  const socket = connect({ path }).setTimeout(CONNECT_MS);
  socket.on("timeout", () =>
    socket.destroy(new Error(`no answer within ${(socket.timeout ?? 0) / 1000} seconds`)),
  );
  try {
    await once(socket, "connect");
    socket.setTimeout(ANSWER_MS).write(request);
    const reader = new FrameReader();
    for await (const chunk of socket) {
      const body = reader.push(chunk as Buffer); // no encoding is set
      if (body) return body;
    }
    throw new Error("closed the connection without an answer");
  } finally {
    socket.destroy();
  }
}

/** In relay.c's words, which are the C library's. */
function why(socket: string, error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException; // whatever it is, it is printed
  if (error instanceof RangeError) return `agent at ${socket}: answer of impossible length`;
  const known = { ENOENT: "No such file or directory", ECONNREFUSED: "Connection refused" }[code ?? ""];
  return `${known ? "no agent" : "agent"} at ${socket}: ${known ?? message}`;
}

function failure({ env, stdin }: Call, reason: string): Reply {
  const document = {
    cniVersion: fieldOf(Buffer.from(stdin).toString(), "cniVersion") ?? "1.0.0",
    code: env.CNI_COMMAND === "STATUS" ? UNAVAILABLE : TRY_AGAIN_LATER,
    msg: `margay: ${reason}`,
    details: HINT,
  };
  return { exitCode: 1, stdout: `${JSON.stringify(document)}\n` };
}

const HINT =
  'Is `margay agent` running on this node, and is that its socket? Set the configuration\'s "socket" if it listens elsewhere.';
