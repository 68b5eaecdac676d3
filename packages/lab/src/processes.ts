import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { LabError } from "./errors.ts";

export interface ProcessSpec {
  /** "etcd", "tor/bird", "n1/agent". */
  readonly name: string;
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Path of the network namespace to run in; the fabric's when absent. */
  readonly namespace?: string;
}

export interface ProcessStatus {
  readonly name: string;
  /** As seen inside the lab. */
  readonly pid: number;
  readonly running: boolean;
  /** "exit code 1", "SIGKILL"; absent while running. */
  readonly ended?: string;
  readonly log: string;
}

interface Running {
  readonly spec: ProcessSpec;
  child: ChildProcess;
  ended: string | undefined;
  /** We asked for its end. */
  expected: boolean;
  exit: Promise<void>;
}

/** The lab's long-running processes. One that ends by itself is reported, not restarted: a lab shows what happens. */
export class Processes {
  readonly #folder: string;
  readonly #dieWithUs: boolean;
  readonly #onExit: (status: ProcessStatus, lastWords: string) => void;
  readonly #all = new Map<string, Running>();

  constructor(options: {
    readonly logs: string;
    /** Without a pid namespace each process must be told to die with the supervisor. */
    readonly dieWithUs: boolean;
    readonly onExit: (status: ProcessStatus, lastWords: string) => void;
  }) {
    this.#folder = options.logs;
    this.#dieWithUs = options.dieWithUs;
    this.#onExit = options.onExit;
    mkdirSync(options.logs, { recursive: true });
  }

  /** Starts it, or starts again one that has ended. LabError "running". */
  start(spec: ProcessSpec): void {
    const before = this.#all.get(spec.name);
    if (before && before.ended === undefined)
      throw new LabError("running", `${spec.name} is running already`);
    const log = openSync(this.#logOf(spec.name), "a");
    const command = [
      ...(this.#dieWithUs ? ["setpriv", "--pdeathsig", "KILL", "--"] : []),
      ...(spec.namespace ? ["nsenter", `--net=${spec.namespace}`, "--"] : []),
      ...spec.command,
    ];
    // its own session: a terminal's Ctrl-C is for the supervisor, which ends the others in order
    const child = spawn(command[0] ?? "", command.slice(1), {
      stdio: ["ignore", log, log],
      env: { ...process.env, ...spec.env },
      detached: true,
    });
    closeSync(log);
    const exit = new Promise<void>((resolve) => child.once("close", () => resolve()));
    const running: Running = { spec, child, ended: undefined, expected: false, exit };
    this.#all.set(spec.name, running);
    child.once("error", (error) => this.#gone(running, error.message));
    child.once("exit", (code, signal) => this.#gone(running, signal ?? `exit code ${code}`));
  }

  /** Starts once more what has ended, as it was. LabError "not-found", "running". */
  restart(name: string): void {
    this.start(this.#get(name).spec);
  }

  /** Sends a signal; resolves when the process has ended, if the signal is one that ends it. LabError "not-found", "not-running". */
  async signal(name: string, signal: NodeJS.Signals): Promise<void> {
    const running = this.#get(name);
    if (running.ended !== undefined)
      throw new LabError("not-running", `${name} is not running (${running.ended})`);
    running.expected = true;
    running.child.kill(signal);
    if (["SIGTERM", "SIGKILL", "SIGINT"].includes(signal)) await running.exit;
  }

  status(): ProcessStatus[] {
    return [...this.#all.values()].map((running) => this.#statusOf(running));
  }

  isRunning(name: string): boolean {
    const running = this.#all.get(name);
    return running !== undefined && running.ended === undefined;
  }

  /** The last lines of a process's log. */
  lastWords(name: string, lines = 8): string {
    return readFileSync(this.#logOf(name), "utf8").trimEnd().split("\n").slice(-lines).join("\n");
  }

  /** Ends all of them: SIGTERM, and SIGKILL for those that are there `graceMs` later. */
  async stop(graceMs: number): Promise<void> {
    const running = [...this.#all.values()].filter(({ ended }) => ended === undefined);
    for (const one of running) {
      one.expected = true;
      one.child.kill("SIGTERM");
    }
    const timer = setTimeout(() => {
      for (const { child } of running) child.kill("SIGKILL");
    }, graceMs);
    await Promise.all(running.map(({ exit }) => exit));
    clearTimeout(timer);
  }

  #get(name: string): Running {
    const running = this.#all.get(name);
    if (!running)
      throw new LabError("not-found", `no process ${name}; there are: ${[...this.#all.keys()].join(", ")}`);
    return running;
  }

  #gone(running: Running, how: string): void {
    if (running.ended !== undefined) return;
    running.ended = how;
    if (!running.expected) this.#onExit(this.#statusOf(running), this.lastWords(running.spec.name));
  }

  #statusOf({ spec, child, ended }: Running): ProcessStatus {
    const log = this.#logOf(spec.name);
    return {
      name: spec.name,
      pid: child.pid ?? 0,
      running: ended === undefined,
      ...(ended && { ended }),
      log,
    };
  }

  #logOf(name: string): string {
    return join(this.#folder, `${name.replaceAll("/", "-")}.log`);
  }
}
