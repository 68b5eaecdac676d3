import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename } from "node:path";
import { LabError } from "./errors.ts";

/** A lab that is there: its supervisor, as seen from outside. */
export interface FoundLab {
  readonly name: string;
  readonly pid: number;
  /** The supervisor's control socket, reached through its own root directory. */
  readonly socket: string;
}

/** In the lab's private /run, so that it vanishes with the lab. */
export const CONTROL_SOCKET = "/run/margay-lab.sock";
/** Inside the lab, for `lab exec`: the margay executable that the lab itself runs. */
export const BIN = "/run/bin";
/** The words by which a supervisor is known in the process table. */
export const SUPERVISE = ["lab", "supervise", "--name"] as const;

/**
 * The labs of this machine that this user may see. The process table is the record: there is no file that a `kill -9`
 * could leave behind.
 */
export function findLabs(): FoundLab[] {
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry) && isOpen(entry))
    .flatMap((entry) => {
      const name = supervisedBy(commandLine(entry));
      const pid = Number(entry);
      return name === undefined ? [] : [{ name, pid, socket: `/proc/${pid}/root${CONTROL_SOCKET}` }];
    })
    .sort((a, b) => a.name.localeCompare(b.name));
}

/** The path by which whoever called can open what the lab has at `path`. */
export const fromOutside = ({ pid }: FoundLab, path: string): string => `/proc/${pid}/root${path}`;

/** The lab of that name; the only one there is when none is named. LabError "not-running", "invalid". */
export function findLab(name: string | undefined): FoundLab {
  const labs = findLabs();
  const matching = name === undefined ? labs : labs.filter((lab) => lab.name === name);
  const [lab, another] = matching;
  if (lab === undefined) {
    throw new LabError(
      "not-running",
      name === undefined ? "no lab is running; start one: margay lab up" : `no lab named ${name} is running`,
    );
  }
  if (another)
    throw new LabError(
      "invalid",
      `several labs are running (${labs.map((one) => one.name).join(", ")}): choose with --name`,
    );
  return lab;
}

/** Whether this user may look into a process; another's lab is not to be had. */
function isOpen(pid: string): boolean {
  try {
    readlinkSync(`/proc/${pid}/root`);
    return true;
  } catch {
    return false; // or it has just ended
  }
}

/** Argument words of a process; none when it has just ended. */
function commandLine(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return []; // ended since readdir: the usual race with /proc, not an error
  }
}

/** The lab's name if these are a supervisor's words; unshare and setpriv carry the same words, but are not node. */
function supervisedBy(words: readonly string[]): string | undefined {
  if (basename(words[0] ?? "") !== basename(process.execPath)) return undefined;
  const at = words.findIndex((_, index) => SUPERVISE.every((word, offset) => words[index + offset] === word));
  return at < 0 ? undefined : words[at + SUPERVISE.length];
}

/** Flags of nsenter(1) that put a command into the lab; `namespace` is a name in its /run/netns, the fabric when absent. */
export function enter(pid: number, namespace?: string): string[] {
  const differs = (kind: string) =>
    readlinkSync(`/proc/${pid}/ns/${kind}`) !== readlinkSync(`/proc/self/ns/${kind}`);
  const user = differs("user") ? ["--user", "--preserve-credentials"] : [];
  const pids = differs("pid") ? ["--pid"] : [];
  const outer = [
    "nsenter",
    `--target=${pid}`,
    ...user,
    ...pids,
    "--mount",
    "--net",
    `--wdns=${process.cwd()}`,
    "--",
  ];
  return namespace === undefined ? outer : [...outer, "nsenter", `--net=/run/netns/${namespace}`, "--"];
}
