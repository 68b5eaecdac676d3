import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { CniError } from "./errors.ts";
import { decodeCall, encodeCall, type Reply } from "./frame.ts";
import { type Invocation, parseCall } from "./invocation.ts";
import { keep } from "./keep.ts";
import { DONE, formatError } from "./result.ts";

/** So many calls at once when the agent is back. */
const AT_ONCE = 64;

/** What fails again is left alone for twice as long, up to so long; each try is a line in the log. */
const LONGEST_PAUSE_MS = 60_000;

/** The agent's part of what keep.ts begins. */
export interface SpoolOptions {
  readonly directory: string;
  readonly handle: (invocation: Invocation) => Promise<Reply>;
  /** Milliseconds, never backwards. */
  readonly now: () => number;
  /** A file that is no call, or a call that can never succeed: it is thrown away. */
  readonly onBadCall: (error: unknown) => void;
  /** A DEL is answered as soon as it is kept here, and an ADD of the container waits for it. Else when it is done. */
  readonly answersFirst?: boolean;
}

/** Does what was kept. */
export class Spool {
  readonly #options: SpoolOptions;

  /** DELs answered and not done, by where they are kept. */
  readonly #late = new Map<string, Promise<unknown>>();
  /** What has failed, by where it is kept: not before then, and how long that pause is. */
  readonly #pauses = new Map<string, { readonly until: number; readonly ms: number }>();

  constructor(options: SpoolOptions) {
    this.#options = options;
    mkdirSync(options.directory, { recursive: true, mode: 0o700 });
  }

  /** Serves a call, after what is kept of the same container; when that cannot be done yet, neither can an ADD. */
  readonly handle = async (invocation: Invocation): Promise<Reply> => {
    const { command, plugin, containerId, ifname, cniVersion } = invocation;
    if (command === "DEL" && this.#options.answersFirst) return this.#del(invocation);
    if (command !== "ADD") return this.#options.handle(invocation);
    if (await this.#serveAll(`${containerId}.${ifname}.margay-${plugin}`)) return this.#add(invocation);
    const why = "an earlier DEL of this container, made while the agent was away, cannot be done yet";
    return formatError(cniVersion, new CniError("try-again-later", why));
  };

  /** With success, if it can be kept until it is done. */
  async #del(invocation: Invocation): Promise<Reply> {
    const { directory, handle } = this.#options;
    const { env, document } = invocation.raw;
    const frame = encodeCall({ env, stdin: Buffer.from(JSON.stringify(document)) });
    const path = keep(directory, env, frame);
    if (path === undefined) return handle(invocation);
    const settled = setImmediate() // the answer is out by then
      .then(() => handle(withoutPath(invocation)))
      .then((reply) => {
        if (this.#late.get(path) === settled) this.#late.delete(path);
        this.#settle(path, reply);
      });
    this.#late.set(path, settled);
    return DONE;
  }

  /** Without an address to be had, again when the DELs that may free one are done: their callers count on it. */
  async #add(invocation: Invocation): Promise<Reply> {
    const late = [...this.#late.values()];
    const reply = await this.#options.handle(invocation);
    if (reply.exitCode === 0 || late.length === 0 || !wantsAddress(reply.stdout)) return reply;
    await Promise.all(late);
    return this.#options.handle(invocation);
  }

  /** Tries all that is kept, once, but for what is under way and what has just failed. @returns how many calls are left */
  async drain(): Promise<number> {
    const { directory, now } = this.#options;
    const all = this.#kept();
    const isDue = (path: string) => !this.#late.has(path) && (this.#pauses.get(path)?.until ?? 0) <= now();
    const names = all.filter((name) => isDue(join(directory, name)));
    let left = all.length - names.length;
    for (let i = 0; i < names.length; i += AT_ONCE) {
      const done = await Promise.all(names.slice(i, i + AT_ONCE).map((name) => this.#serve(name)));
      left += done.filter((isDone) => !isDone).length;
    }
    return left;
  }

  readonly #kept = (): string[] =>
    readdirSync(this.#options.directory).filter((name) => !name.startsWith("."));

  /** Whether nothing is kept under a name that begins so (any more): of one container, a file for each network. */
  async #serveAll(begin: string): Promise<boolean> {
    const names = this.#kept().filter((name) => name.startsWith(begin));
    return (await Promise.all(names.map((name) => this.#serve(name)))).every((isDone) => isDone);
  }

  /**
   * Whether nothing is kept under that name (any more). The file is read and the call put in its pod's line in one
   * stretch: no ADD can get in between, and then be undone by a DEL from before its time.
   */
  async #serve(name: string): Promise<boolean> {
    const path = join(this.#options.directory, name);
    const reply = this.#replay(path);
    if (reply === undefined) return true;
    return this.#settle(path, await reply);
  }

  /** Whether a call that was kept there is done with. */
  #settle(path: string, { exitCode, stdout }: Reply): boolean {
    if (exitCode !== 0 && !isHopeless(stdout)) {
      const ms = Math.min(2 * (this.#pauses.get(path)?.ms ?? 500), LONGEST_PAUSE_MS);
      this.#pauses.set(path, { until: this.#options.now() + ms, ms });
      return false;
    }
    if (exitCode !== 0) this.#options.onBadCall(new Error(`${path}: ${stdout.trim()}`));
    this.#pauses.delete(path);
    rmSync(path, { force: true });
    return true;
  }

  #replay(path: string): Promise<Reply> | undefined {
    let frame: Buffer;
    try {
      frame = readFileSync(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
    try {
      return this.#options.handle(withoutPath(parseCall(decodeCall(frame.subarray(4)))));
    } catch (error) {
      this.#options.onBadCall(error);
      return Promise.resolve(DONE);
    }
  }
}

/** There was none, or the one asked for is in use. */
const wantsAddress = (stdout: string): boolean =>
  [100, 101].includes((JSON.parse(stdout) as { code: number }).code);

/** Once a DEL is answered, the path of its namespace may be another container's: the interface is found by its owner. */
const withoutPath = (invocation: Invocation): Invocation => ({ ...invocation, netns: undefined });

/** Wrong in itself: its version, environment or configuration. All else may work later, and nobody else will try again. */
const isHopeless = (stdout: string): boolean =>
  [1, 4, 6, 7].includes((JSON.parse(stdout) as { code: number }).code);
