import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { scratch } from "@margay/testing";

/** Another's daemon with one file of configuration, in a namespace. It dies with this process. */
export class Program {
  readonly dir = scratch(tmpdir(), "program");
  readonly #process: ChildProcess;

  /** `command` is told the directory in which the file `name` lies. */
  constructor(namespace: string, name: string, text: string, command: (dir: string) => string) {
    writeFileSync(join(this.dir, name), text, { mode: 0o600 });
    const words = [
      "netns",
      "exec",
      namespace,
      "setpriv",
      "--pdeathsig",
      "KILL",
      ...command(this.dir).split(" "),
    ];
    this.#process = spawn("ip", words, { stdio: "ignore" });
  }

  /** What it wrote to a file of its directory. */
  read(name: string): string {
    return readFileSync(join(this.dir, name), "utf8");
  }

  async stop(): Promise<void> {
    const gone = new Promise((resolve) => this.#process.once("exit", resolve));
    if (this.#process.kill("SIGKILL")) await gone;
    rmSync(this.dir, { recursive: true, force: true });
  }
}
