import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { eventually } from "./lab.ts";

/** Everything that a program can leave behind on a machine, by what it is. */
export interface Machine {
  readonly processes: readonly string[];
  readonly mounts: readonly string[];
  /** In /tmp and /run. */
  readonly files: readonly string[];
  /** Links with their addresses, routes, rules of iptables and nftables, sets. */
  readonly network: readonly string[];
  readonly sysctls: readonly string[];
}

const NETWORK = [
  "ip -o addr",
  "ip -4 route show table all; ip -6 route show table all",
  "ip rule; ip -6 rule",
  "iptables-save; ip6tables-save; nft list ruleset",
  "ipset save",
];

const ROOT = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");
/** A checkout below /tmp or /run stays where it is: held open, and bound there again. `-c`: mount(8) would look for it by its name. */
const CLOSE = `exec 9<"$1"
for folder in /tmp /run; do mount -nt tmpfs tmpfs $folder; done
[ -d "$1" ] || { mkdir -p "$1"; mount -nc --bind /proc/self/fd/9 "$1"; }
exec 9<&-
ip link set lo up
exec sleep infinity`;

/** A machine within the machine: nobody else has a process, a mount, a file in /tmp or /run, a link or a rule there. */
export class Cage {
  readonly #init: ChildProcess;

  private constructor(init: ChildProcess) {
    this.#init = init;
  }

  static async open(): Promise<Cage> {
    const flags = ["--pid", "--mount", "--net", "--fork", "--mount-proc", "--kill-child=SIGKILL"];
    const command = ["unshare", ...flags, "sh", "-ec", CLOSE, "sh", ROOT];
    const init = spawn("setpriv", ["--pdeathsig", "KILL", "--", ...command]);
    const cage = new Cage(init);
    await eventually("the cage is closed", async () => cage.#pid() !== undefined);
    return cage;
  }

  /** Words that run what follows them inside. */
  get inside(): readonly string[] {
    const enter = ["nsenter", "--target", `${this.#pid()}`, "--pid", "--mount", "--net", "--"];
    return [...enter, "setpriv", "--pdeathsig", "KILL", "--"]; // nsenter has a child in a process namespace, and does not take it along
  }

  /** Ends the cage and all in it. */
  async close(): Promise<void> {
    const gone = new Promise((resolve) => this.#init.once("close", resolve));
    this.#init.kill("SIGKILL");
    await gone;
  }

  /** What is there now; what of it counts packets or time is left out. */
  look(): Machine {
    const all = (command: string) => this.#lines(command).filter((line) => !line.startsWith("#"));
    const mounts = readFileSync(`/proc/${this.#pid()}/mountinfo`, "utf8").trimEnd().split("\n");
    return {
      processes: [...this.processes().values()].sort(),
      mounts: mounts.map((line) => line.replace(/^\d+ \d+ /, "")),
      files: this.#lines("find /tmp /run -xdev"), // not the checkout's, which may be there
      network: NETWORK.flatMap(all).map((line) => line.replace(/ (\[\d+:\d+\]|valid_lft.*)$/, "")),
      sysctls: all("sysctl -a 2>/dev/null").filter(
        (line) => /^net\./.test(line) && !/conntrack_count/.test(line),
      ),
    };
  }

  /** Command lines by process id, both as seen inside; the dead that nobody has waited for have none. */
  processes(): ReadonlyMap<string, string> {
    const proc = `/proc/${this.#pid()}/root/proc`;
    const pids = readdirSync(proc).filter((name) => /^\d+$/.test(name));
    return new Map(
      pids.map((pid) => [pid, commandLine(join(proc, pid))] as const).filter(([, words]) => words),
    );
  }

  /** To the one process inside whose command line matches. */
  signal(signal: "SIGKILL" | "SIGTERM" | "SIGINT", words: RegExp): void {
    const found = [...this.processes()].filter(([, line]) => words.test(line));
    if (found.length !== 1)
      throw new Error(`${found.length} processes are ${words}: ${JSON.stringify(found)}`);
    this.#lines(`kill -${signal.slice(3)} ${found[0]?.[0]}`);
  }

  #lines(command: string): string[] {
    const [program = "", ...words] = [...this.inside, "sh", "-c", command];
    return execFileSync(program, words, { encoding: "utf8" }).split("\n").filter(Boolean);
  }

  /** Of the process that holds the cage: unshare's child, once it has become `sleep`. */
  #pid(): number | undefined {
    const child = readFileSync(`/proc/${this.#init.pid}/task/${this.#init.pid}/children`, "utf8").trim();
    if (child === "") return undefined;
    return readFileSync(`/proc/${child}/cmdline`, "utf8").startsWith("sleep") ? Number(child) : undefined;
  }
}

function commandLine(process: string): string {
  try {
    return readFileSync(join(process, "cmdline"), "utf8").replaceAll("\0", " ").trim();
  } catch {
    return ""; // ended since it was listed
  }
}
