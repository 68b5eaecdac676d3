/** `margay bgpd --config-file` as a process of its own, which can be killed. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { controlGet } from "@margay/daemon";
import { scratch } from "@margay/testing";

const main = fileURLToPath(new URL("../../../margay/src/main.ts", import.meta.url));

const node = ["--conditions=margay-source", "--no-warnings", main];

export class OwnProcess {
  readonly #dir = scratch(tmpdir(), "bgpd");
  #process: ChildProcess | undefined;
  /** Its log since it was started. */
  said = "";

  start(yaml: string): void {
    this.said = "";
    this.#write(yaml);
    const flags = [
      ...["--config-file", join(this.#dir, "router.yaml")],
      ...["--run-dir", this.#dir, "--health-port", "0"],
    ];
    this.#process = spawn(process.execPath, [...node, "bgpd", ...flags], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    this.#process.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.said += text;
    });
  }

  /** SIGHUP, with another file. */
  hangUp(yaml: string): void {
    this.#write(yaml);
    this.#process?.kill("SIGHUP");
  }

  #write(yaml: string): void {
    writeFileSync(join(this.#dir, "router.yaml"), yaml);
  }

  async kill(): Promise<void> {
    const gone = new Promise((resolve) => this.#process?.once("exit", resolve));
    if (this.#process?.kill("SIGKILL")) await gone;
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.#dir, { recursive: true });
  }

  /** What `margay bgp` prints for its user. The log is read on meanwhile, or the daemon would wait for that. */
  async bgp(...words: string[]): Promise<string> {
    const args = [...node, "bgp", ...words, "--run-dir", this.#dir];
    return (await promisify(execFile)(process.execPath, args)).stdout;
  }

  /** States of these sessions, by the names of their peers. */
  async states(...names: string[]): Promise<string[]> {
    const peers = (await controlGet(this.#dir, "bgpd", "/peers").catch(() => [])) as {
      name: string;
      state: string;
    }[];
    return names.map((name) => peers.find((peer) => peer.name === name)?.state ?? "not running");
  }
}
