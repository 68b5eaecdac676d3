import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface, type Interface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { TestLab } from "./lab.ts";

/** As `asker.ts` has them. */
interface Task {
  readonly ask?: { readonly server: string; readonly domain: string };
  readonly to?: string;
  readonly againMs?: number;
  readonly patienceMs: number;
}
interface Done {
  readonly answered: boolean;
  readonly reached: boolean;
}

interface Wanted {
  readonly at: string;
  readonly file: "asker.ts" | "far.ts";
  readonly words?: readonly string[];
}

/** A program of the agent's own DNS tests at a place of a lab: a DNS server, or somebody who asks one and sends. */
export class Program {
  readonly #child: ChildProcess;
  readonly #lines: Interface;
  #id = 0;

  private constructor(child: ChildProcess, lines: Interface) {
    this.#child = child;
    this.#lines = lines;
  }

  /** Ready when it returns. */
  static async start(lab: TestLab, { at, file, words = [] }: Wanted): Promise<Program> {
    const path = fileURLToPath(new URL(`../../packages/agent/src/dns/testing/${file}`, import.meta.url));
    const node = [process.execPath, "--conditions=margay-source", "--no-warnings", path, ...words];
    const child = lab.spawn(at, node);
    if (!child.stdout) throw new Error("it has pipes");
    const lines = createInterface({ input: child.stdout });
    await once(lines, "line");
    return new Program(child, lines);
  }

  /** One task at a time. */
  async does(task: Task): Promise<Done> {
    this.#child.stdin?.write(`${JSON.stringify({ ...task, id: ++this.#id })}\n`);
    const [line] = (await once(this.#lines, "line")) as [string];
    const { answered, reached } = JSON.parse(line) as Done;
    return { answered, reached };
  }

  end(): void {
    this.#child.stdin?.end();
  }
}
