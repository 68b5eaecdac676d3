/** FRR's zebra and bgpd together in a namespace: what needs interfaces and router advertisements. Needs root: zebra becomes another user. */
import { type ChildProcess, spawn } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { scratch } from "@margay/testing";
import { run } from "./bird.ts";

/** For `lacking`. */
export const frrProgram = { program: "/usr/lib/frr/zebra", needsUsers: true } as const;

export class Frr {
  readonly #namespace: string;
  readonly #dir = scratch(tmpdir(), "frr");
  readonly #running: ChildProcess[] = [];

  constructor(namespace: string) {
    this.#namespace = namespace;
  }

  start({ zebra, bgpd }: { readonly zebra: string; readonly bgpd: string }): void {
    writeFileSync(join(this.#dir, "zebra.conf"), zebra);
    writeFileSync(join(this.#dir, "bgpd.conf"), bgpd);
    run(`mkdir -p /run/frr && chown -R frr:frr /run/frr ${this.#dir} && chmod 755 ${this.#dir}`);
    this.#spawn("zebra", []);
    this.startBgpd();
  }

  #spawn(name: "zebra" | "bgpd", more: readonly string[]): void {
    const files = [
      "-f",
      `${this.#dir}/${name}.conf`,
      "-i",
      `${this.#dir}/${name}.pid`,
      "-z",
      `${this.#dir}/zserv.api`,
    ];
    const log = ["--log", `file:${this.#dir}/${name}.log`, "--vty_socket", this.#dir, "-P", "0"];
    const words = [
      "netns",
      "exec",
      this.#namespace,
      "setpriv",
      "--pdeathsig",
      "KILL",
      `/usr/lib/frr/${name}`,
    ];
    this.#running.push(spawn("ip", [...words, ...files, ...log, ...more], { stdio: "ignore" }));
  }

  /** What bgpd's `show` says; nothing while it is not up. */
  show(command: string): string {
    try {
      return run(`vtysh --vty_socket ${this.#dir} -d bgpd -c 'show ${command}' 2>/dev/null`);
    } catch {
      return "";
    }
  }

  /** What bgpd logged. */
  get log(): string {
    return run(`cat ${this.#dir}/bgpd.log`);
  }

  /** bgpd alone, and what zebra wrote stays as long as bgpd asked for. */
  killBgpd(): Promise<void> {
    return this.#kill(this.#running.splice(1));
  }

  startBgpd(): void {
    this.#spawn("bgpd", ["-S"]); // root as it is
  }

  stop(): Promise<void> {
    return this.#kill(this.#running.splice(0));
  }

  async #kill(children: readonly ChildProcess[]): Promise<void> {
    for (const child of children) {
      const gone = new Promise((resolve) => child.once("exit", resolve));
      if (child.kill("SIGKILL")) await gone;
    }
  }

  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
