import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import type { Wiring } from "./deps.ts";
import { CniError } from "./errors.ts";
import { errorOf, type WiringAnswer, type WiringCall } from "./wiring-message.ts";

/** MB. It keeps nothing; what a call leaves is soon collected. */
const LIMITS = { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 64 };

/**
 * Makes pods' interfaces (`wire`) in a thread of its own: the kernel takes milliseconds for one, and this thread puts the pod's
 * rules in words meanwhile. It is there from the start, for its first words take it long. One that has died is followed by another.
 */
export class WiringThread {
  readonly #waiting = new Map<number, PromiseWithResolvers<void>>();
  #calls = 0;
  readonly #onDied: (why: string) => void;
  readonly #code: Code;
  #worker: Worker | undefined;
  #isClosed = false;

  /** `onDied` is told why, unless it was closed. Another `code` than `wiring-worker.ts` is for tests. */
  constructor(onDied: (why: string) => void, code = workerCode()) {
    this.#onDied = onDied;
    this.#code = code;
    this.#worker = this.#start();
  }

  /** As `wire`; CniError `try-again-later` when the thread died meanwhile. */
  wire(wiring: Wiring): Promise<void> {
    if (this.#isClosed) return Promise.reject(gone("closed"));
    const call: WiringCall = { id: ++this.#calls, wiring };
    const waiting = Promise.withResolvers<void>();
    this.#waiting.set(call.id, waiting);
    this.#worker ??= this.#start();
    this.#worker.postMessage(call);
    return waiting.promise;
  }

  /** Whoever waits is told to try again. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#worker?.terminate();
  }

  #start(): Worker {
    const { file, execArgv } = this.#code;
    const worker = new Worker(file, { execArgv, resourceLimits: LIMITS });
    worker.unref(); // who waits for a call has a server open
    worker.on("message", ({ id, refused }: WiringAnswer) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (refused) waiting?.reject(errorOf(refused));
      else waiting?.resolve();
    });
    let why = "it has ended";
    worker.on("error", (error) => {
      why = String(error);
    });
    worker.on("exit", () => this.#died(why));
    return worker;
  }

  #died(why: string): void {
    this.#worker = undefined;
    const lost = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of lost) reject(gone(why));
    if (!this.#isClosed) this.#onDied(why);
  }
}

const gone = (why: string) => new CniError("try-again-later", `the thread that makes interfaces: ${why}`);

/** What a thread runs, and with which flags of Node.js. */
interface Code {
  readonly file: string;
  readonly execArgv: string[];
}

/** Beside the bundle whose chunk this is, or beside this file. */
function workerCode(): Code {
  const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));
  const bundled = at("../wiring-worker.mjs");
  if (existsSync(bundled)) return { file: bundled, execArgv: [] };
  const source = at("./wiring-worker.ts");
  if (existsSync(source)) return { file: source, execArgv: ["--conditions=margay-source", "--no-warnings"] };
  return { file: at("./wiring-worker.js"), execArgv: [] };
}
