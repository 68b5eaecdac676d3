import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { IptablesError } from "./error.ts";
import { commandOf, environmentOf, failure, type Run, remember } from "./tool.ts";

/** What one send waits for. */
interface Waiting {
  readonly acknowledged: () => void;
  readonly ended: (exit: number, said: string) => void;
}

/** How long a tool may take to answer an empty transaction before we hold it to be one that does not answer. */
const PROBE_MS = 2000;

/**
 * An iptables-restore that stays open and commits as it reads. It answers: with --verbose it echoes comments, so a comment
 * after the last COMMIT comes back once that is done (through stdbuf, for it would else keep it until it exits). At
 * the first refusal it exits, having said why; the next send starts another.
 */
export class RestoreStream {
  readonly #job: Run;
  #child: ChildProcessWithoutNullStreams | undefined;
  #waiting: Waiting | undefined;
  #linesSent = 0;
  #sends = 0;
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(job: Run) {
    this.#job = job;
  }

  /** Undefined if this tool, here, does not answer as described: then run it once for each transaction. */
  static async open(job: Run): Promise<RestoreStream | undefined> {
    const stream = new RestoreStream(job);
    try {
      await stream.send("*filter\nCOMMIT\n", PROBE_MS);
      return stream;
    } catch (error) {
      stream.close();
      if (error instanceof IptablesError) return undefined;
      throw error;
    }
  }

  /** Resolves once every COMMIT of the input is done. IptablesError otherwise. One at a time, in order. */
  send(input: string, timeoutMs: number): Promise<void> {
    const result = this.#turn.then(() => this.#send(input, timeoutMs));
    this.#turn = result.catch(() => {}); // its caller hears of it; the next send starts a new tool
    return result;
  }

  /** Ends the tool. A later send would start it again. */
  close(): void {
    this.#child?.stdin.end();
    this.#child = undefined;
  }

  async #send(input: string, timeoutMs: number): Promise<void> {
    const child = this.#child ?? this.#start();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const before = this.#linesSent;
    this.#waiting = {
      acknowledged: resolve,
      ended: (exit, said) => reject(failure({ ...this.#job, input }, { exit, said, linesBefore: before })),
    };
    const timer = setTimeout(() => {
      reject(new IptablesError("timeout", { tool: this.#job.tool, reason: `no answer in ${timeoutMs} ms` }));
      child.kill("SIGKILL");
      this.#child = undefined;
    }, timeoutMs);
    const text = `${input}# margay ${++this.#sends}\n`;
    this.#linesSent += text.split("\n").length - 1;
    child.stdin.write(text);
    await promise.finally(() => {
      clearTimeout(timer);
      this.#waiting = undefined;
    });
  }

  /** The tool does not keep our process alive: while a send waits, its timer does. */
  #start(): ChildProcessWithoutNullStreams {
    const { tool, args } = this.#job;
    const [file, all] = commandOf({
      ...this.#job,
      tool: "stdbuf",
      args: ["-oL", tool, "--verbose", ...args],
    });
    const child = spawn(file, all, { env: environmentOf(this.#job), stdio: ["pipe", "pipe", "pipe"] });
    remember(child);
    let said = "";
    let echoed = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      echoed = `${echoed}${text}`.slice(-64);
      if (echoed.endsWith(`# margay ${this.#sends}\n`)) this.#waiting?.acknowledged();
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      said = `${said}${text}`.slice(-65536);
    });
    child.stdin.on("error", () => {}); // EPIPE: it has exited; "close" tells why
    child.on("error", (cause) => this.#ended(child, 127, cause.message));
    child.on("close", (exit) => this.#ended(child, exit ?? -1, said.trim()));
    for (const handle of [child, child.stdin, child.stdout, child.stderr])
      (handle as { unref?(): void }).unref?.(); // pipes are sockets
    this.#linesSent = 0;
    this.#child = child;
    return child;
  }

  #ended(child: ChildProcessWithoutNullStreams, exit: number, said: string): void {
    if (this.#child !== child) return;
    this.#child = undefined;
    this.#waiting?.ended(exit, said);
  }
}
