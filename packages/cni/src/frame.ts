/*
 * What passes between the relay and the agent, over a unix socket, one call a connection:
 *
 *   request   u32 length | "CNI_COMMAND=ADD" NUL ... "MARGAY_ARGV0=margay-cni" NUL | NUL | stdin
 *   answer    u32 length | u8 exit code | stdout                  (lengths big-endian, of what follows them)
 *
 * relay/relay.c writes and reads the same.
 */

/** Longest frame either side takes, in bytes: a CNI configuration with its previous result is a few KiB. */
export const MAX_FRAME = 1 << 20;

/** One call as the runtime made it. */
export interface Call {
  /** The CNI_* variables, and MARGAY_ARGV0: the name the relay was executed by. */
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: Uint8Array;
}

/** What the runtime gets. */
export interface Reply {
  /** 0, or 1 with a CNI error in `stdout`. */
  readonly exitCode: number;
  readonly stdout: string;
}

export const DEFAULT_SOCKET = "/run/margay/cni.sock";

/** Where the agent listens: the environment decides, then the configuration's "socket", then the default. */
export function socketOf(env: Readonly<Record<string, string | undefined>>, conf: string): string {
  return env.MARGAY_CNI_SOCKET || fieldOf(conf, "socket") || DEFAULT_SOCKET;
}

/**
 * The first `"name" : "value"` of the text, as relay.c finds it: without parsing, for the text may not even
 * be JSON.
 */
export const fieldOf = (conf: string, name: string): string | undefined =>
  new RegExp(`"${name}"[ \\t\\r\\n]*:[ \\t\\r\\n]*"([^"\\\\]*)"`).exec(conf)?.[1];

/** RangeError when the call is longer than a frame may be. */
export function encodeCall({ env, stdin }: Call): Buffer {
  const lines = Object.entries(env).map(([name, value]) => `${name}=${value}\0`);
  return framed(Buffer.concat([Buffer.from(`${lines.join("")}\0`), stdin]));
}

/** RangeError when the frame's body is no call. */
export function decodeCall(body: Uint8Array): Call {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const end = bytes[0] === 0 ? 0 : bytes.indexOf("\0\0") + 1;
  if (end === 0 && bytes[0] !== 0) throw new RangeError("the environment has no end");
  const lines = end === 0 ? [] : bytes.toString("utf8", 0, end - 1).split("\0");
  const entries = lines.map((line): [string, string] => {
    const equals = line.indexOf("=");
    if (equals < 1) throw new RangeError(`not NAME=VALUE: ${JSON.stringify(line)}`);
    return [line.slice(0, equals), line.slice(equals + 1)];
  });
  return { env: Object.fromEntries(entries), stdin: bytes.subarray(end + 1) };
}

/** RangeError when the answer is longer than a frame may be. */
export const encodeReply = ({ exitCode, stdout }: Reply): Buffer =>
  framed(Buffer.concat([Buffer.of(exitCode), Buffer.from(stdout)]));

/** RangeError when the frame's body is no answer. */
export function decodeReply(body: Uint8Array): Reply {
  const [exitCode] = body;
  if (exitCode === undefined) throw new RangeError("an empty answer");
  return { exitCode, stdout: Buffer.from(body.subarray(1)).toString() };
}

function framed(body: Buffer): Buffer {
  if (body.length > MAX_FRAME)
    throw new RangeError(`${body.length} bytes do not fit a frame of ${MAX_FRAME}`);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  return Buffer.concat([length, body]);
}

/** Collects the bytes of one frame as they come. */
export class FrameReader {
  #chunks: Buffer[] = [];
  #size = 0;

  /**
   * The body once all of it is here; RangeError as soon as its length is impossible, or more than it
   * arrives.
   */
  push(chunk: Buffer): Buffer | undefined {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    if (this.#size < 4) return undefined;
    if (this.#chunks[0]!.length < 4) this.#chunks = [Buffer.concat(this.#chunks)]; // pushed just above
    const length = this.#chunks[0]!.readUInt32BE();
    if (length < 1 || length > MAX_FRAME)
      throw new RangeError(`a frame of ${length} bytes; 1 to ${MAX_FRAME} are possible`);
    if (this.#size < 4 + length) return undefined;
    if (this.#size > 4 + length) throw new RangeError("bytes after the frame");
    return Buffer.concat(this.#chunks).subarray(4);
  }
}
