import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "@jest/globals";
import { scratch } from "@margay/testing";

export const run = (command: string): string =>
  execFileSync("sh", ["-c", command], { encoding: "utf8", maxBuffer: 2 ** 26 }); // 20,000 routes are more than its 1 MiB

/** Polls until `what` equals `expected`, at most two minutes; fails with what was seen last. */
export async function eventually(what: () => unknown, expected: unknown, everyMs = 50): Promise<void> {
  const end = Date.now() + 120_000;
  for (;;) {
    const seen = await what();
    try {
      expect(seen).toEqual(expected);
      return;
    } catch (error) {
      if (Date.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
  }
}

/** eth0 here, 172.20.0.11 and fd00:172:20::11, against eth0 in the namespace `other`, .2 and ::2. */
export function wire(other: string): void {
  run(`ip netns add ${other} && ip link add eth0 type veth peer name eth0 netns ${other}`);
  run(
    "ip addr add 172.20.0.11/24 dev eth0 && ip addr add fd00:172:20::11/64 dev eth0 nodad && ip link set eth0 up",
  );
  run(
    `ip -n ${other} addr add 172.20.0.2/24 dev eth0 && ip -n ${other} addr add fd00:172:20::2/64 dev eth0 nodad`,
  );
  run(`ip -n ${other} link set eth0 up && ip -n ${other} link set lo up`);
}

/** BIRD in a namespace; its protocol to us must be called `n1`. */
export class Bird {
  readonly #namespace: string;
  readonly #directory = scratch(tmpdir(), "bird");
  #process: ChildProcess | undefined;

  constructor(namespace: string) {
    this.#namespace = namespace;
  }

  /**
   * `recovers`: it follows a BIRD whose kernel routes are still there, and says so (F bit, RFC 4724 §3); otherwise peers
   * let go of its old routes at once.
   */
  start(configuration: string, { recovers = false } = {}): void {
    const file = join(this.#directory, "bird.conf");
    writeFileSync(file, configuration);
    const bird = ["bird", "-f", "-c", file, "-s", this.#socket, ...(recovers ? ["-R"] : [])];
    const args = ["netns", "exec", this.#namespace, ...bird];
    this.#process = spawn("ip", args, { stdio: "ignore" }); // "ip netns exec" becomes bird
  }

  /** Another configuration for the same process. */
  configure(configuration: string): void {
    writeFileSync(join(this.#directory, "bird.conf"), configuration);
    this.control("configure");
  }

  async kill(): Promise<void> {
    const process = this.#process;
    const gone = new Promise((resolve) => process?.once("exit", resolve));
    if (process?.kill("SIGKILL")) await gone;
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.#directory, { recursive: true });
  }

  /** What `birdc` prints; nothing while BIRD is not up. */
  control(command: string): string {
    try {
      return run(`birdc -s ${this.#socket} '${command}' 2>/dev/null`);
    } catch {
      return ""; // no socket yet
    }
  }

  /** `"10.244.1.0/26 via 172.20.0.11 [64512]"` for each route that BIRD has from us. */
  routes(): string[] {
    return [4, 6].flatMap((family) => this.#routesOf(family)).sort();
  }

  #routesOf(family: number): string[] {
    const text = this.control(`show route protocol n1 table master${family} all`);
    const entry = /^(\S+\/\d+)\s+unicast([\s\S]*?)(?=^\S+\/\d+\s|(?![\s\S]))/gm;
    return [...text.matchAll(entry)].map(
      ([, dst, rest = ""]) =>
        `${dst} via ${/via (\S+)/.exec(rest)?.[1]} [${/as_path:(.*)/.exec(rest)?.[1]?.trim()}]`,
    );
  }

  get #socket(): string {
    return join(this.#directory, "bird.ctl");
  }
}

/** Our kernel routes as `ip route` prints them. */
export const kernelRoutes = (): string[] =>
  run("ip -4 route show proto 143; ip -6 route show proto 143")
    .split("\n")
    .filter(Boolean)
    .map((line) => line.replace(/ pref medium/, "").trim())
    .sort();
