import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import type { TestLab } from "./lab.ts";
import { eventually, exitOf } from "./lab.ts";
import { type Moment, now, unstarvedMs } from "./unstarved.ts";

/** An established TCP connection between two pods, or nodes whose `address` is given, that carries a numbered line every 20 ms, and each line back. */
export class Flow {
  readonly #server: ChildProcess;
  readonly #client: ChildProcess;
  #sent = 0;
  #echoed = 0;
  #last = now();
  #longestGapMs = 0;
  readonly #timer: NodeJS.Timeout;

  private constructor(server: ChildProcess, client: ChildProcess) {
    this.#server = server;
    this.#client = client;
    if (!client.stdout) throw new Error("the client has no pipe");
    createInterface(client.stdout).on("line", (line) => this.#heard(line));
    client.stdin?.on("error", () => {}); // it has ended; what is missing is counted
    this.#timer = setInterval(() => client.stdin?.write(`${this.#sent++}\n`), 20);
  }

  /** Resolves when the first line is back. */
  static async open(
    lab: TestLab,
    { from, to, port, ...known }: { from: string; to: string; port: number; address?: string },
  ): Promise<Flow> {
    const address =
      known.address ??
      (await lab.pods()).find((pod) => `${pod.namespace}/${pod.name}` === to)?.addresses[0]?.split("/")[0];
    if (!address) throw new Error(`no address of ${to}`);
    const server = lab.spawn(to, [
      "sh",
      "-c",
      `rm -f /run/echo${port}; mkfifo /run/echo${port}; nc -lN ${port} < /run/echo${port} | tee /run/echo${port} > /dev/null; rm /run/echo${port}`,
    ]);
    const listening = async () => (await lab.exec(to, ["ss", "-Hltn", `sport = :${port}`])).stdout !== "";
    await eventually(`${to} listens`, listening);
    const flow = new Flow(server, lab.spawn(from, ["nc", "-N", address, String(port)]));
    try {
      await eventually("the first line is back", async () => flow.#echoed > 0);
      return flow;
    } catch (error) {
      flow.end();
      throw error;
    }
  }

  /** Lines that came back so far. */
  get echoed(): number {
    return this.#echoed;
  }

  /** When the last of them came. */
  get heard(): Moment {
    return this.#last;
  }

  /** Stops sending, waits for what is under way, ends both. */
  async close(): Promise<{ sent: number; echoed: number; longestGapMs: number }> {
    clearInterval(this.#timer);
    await eventually("all lines are back", async () => this.#echoed === this.#sent).catch(() => {}); // the numbers tell
    this.#client.stdin?.end();
    await Promise.all([exitOf(this.#client), exitOf(this.#server)]);
    return { sent: this.#sent, echoed: this.#echoed, longestGapMs: this.#longestGapMs };
  }

  /** Lets go of both at once, whatever is under way; what is left of them ends with the lab. */
  end(): { sent: number; echoed: number } {
    clearInterval(this.#timer);
    for (const child of [this.#client, this.#server]) letGo(child);
    return { sent: this.#sent, echoed: this.#echoed };
  }

  #heard(line: string): void {
    if (Number(line) !== this.#echoed) return; // out of order: the count will not match
    const last = this.#last;
    this.#last = now();
    if (this.#echoed > 0) this.#longestGapMs = Math.max(this.#longestGapMs, unstarvedMs(last, this.#last));
    this.#echoed++;
  }
}

/** Its children may hold the pipes still: nobody waits for these. */
export function letGo(child: ChildProcess): void {
  for (const stream of child.stdio) stream?.destroy();
  child.kill();
  child.unref();
}
