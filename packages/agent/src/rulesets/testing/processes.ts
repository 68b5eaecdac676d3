import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Order } from "./keeper.ts";
import type { Streamed } from "./stream.ts";

const script = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

function start(name: string, args: readonly string[], netns?: string): ChildProcess {
  const command = [process.execPath, "--conditions=margay-source", "--no-warnings", script(name), ...args];
  const [file = "", ...rest] = netns ? ["nsenter", `--net=/run/netns/${netns}`, ...command] : command;
  return spawn(file, rest, { stdio: ["pipe", "pipe", "inherit"] });
}

/** The lines of a process, one at a time. */
function linesOf(child: ChildProcess): AsyncIterator<string> {
  if (!child.stdout) throw new Error("its standard output is a pipe");
  return createInterface({ input: child.stdout })[Symbol.asyncIterator]();
}

/** Answers in a pod, as stream.ts says, until its standard input ends. */
export async function answering(pod: string): Promise<ChildProcess> {
  const child = start("stream.ts", ["answer"], pod);
  await linesOf(child).next();
  return child;
}

/** A stream between two pods. */
export class Stream {
  readonly #children: readonly ChildProcess[];
  readonly #lines: AsyncIterator<string>;

  private constructor(children: readonly ChildProcess[], lines: AsyncIterator<string>) {
    this.#children = children;
    this.#lines = lines;
  }

  static async open(
    from: string,
    to: string,
    { address, everyMs }: { address: string; everyMs: number },
  ): Promise<Stream> {
    const answerer = await answering(to);
    const asker = start("stream.ts", ["ask", address, String(everyMs)], from);
    const lines = linesOf(asker);
    if ((await lines.next()).value !== "ready") throw new Error("no connection between the pods");
    return new Stream([asker, answerer], lines);
  }

  async close(): Promise<Streamed> {
    const [asker, answerer] = this.#children;
    asker?.stdin?.end();
    const { value } = await this.#lines.next();
    answerer?.stdin?.end();
    return JSON.parse(value) as Streamed;
  }
}

/** A dataplane in a process of its own. */
export class Keeper {
  #child: ChildProcess;
  #lines: AsyncIterator<string>;
  /** All that it put back, by kind, name and family. */
  readonly repaired: string[] = [];
  /** All that others did. */
  readonly changed: string[] = [];

  constructor() {
    this.#child = start("keeper.ts", []);
    this.#lines = linesOf(this.#child);
  }

  /** Resolves when it is in the kernel. */
  async order(order: Order): Promise<void> {
    this.tell(order);
    for (;;) {
      const { value, done } = await this.#lines.next();
      if (done) throw new Error("the keeper has ended");
      const line = JSON.parse(value) as { repaired?: string[]; changed?: string; done?: string | null };
      if (line.changed !== undefined) this.changed.push(line.changed);
      else if (line.repaired) this.repaired.push(...line.repaired);
      else if (line.done === null) return;
      else throw new Error(`not in force: ${line.done}`);
    }
  }

  /** Does not wait. */
  tell(order: Order): void {
    this.#child.stdin?.write(`${JSON.stringify(order)}\n`);
  }

  /** As kill -9 does, at once; a new one takes over. */
  async replace(): Promise<void> {
    await this.#end("SIGKILL");
    this.#child = start("keeper.ts", []);
    this.#lines = linesOf(this.#child);
  }

  /** Does something while the keeper is held up: it hears of all of it afterwards. */
  meanwhile(act: () => void): void {
    this.#child.kill("SIGSTOP");
    try {
      act();
    } finally {
      this.#child.kill("SIGCONT");
    }
  }

  stop(): Promise<void> {
    return this.#end("SIGTERM");
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill(signal);
    await ended;
  }
}
