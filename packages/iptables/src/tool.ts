import { type ChildProcess, spawn } from "node:child_process";
import { IptablesError, type IptablesErrorFacts } from "./error.ts";

/** One run of a tool. */
export interface Run {
  readonly tool: string;
  readonly args: readonly string[];
  readonly input?: string;
  /** Path of a network namespace to run in. */
  readonly namespace?: string | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Killed after this many ms. Default 60,000. */
  readonly timeoutMs?: number;
}

const PACKAGES: Readonly<Record<string, string>> = { ipset: "ipset", nsenter: "util-linux" };
/** A ruleset of 50,000 rules prints 10 MB; more than this is no ruleset. */
const MAX_OUTPUT = 1 << 28;

/** How long after its end a tool's notifications may still come. */
const REMEMBERED_MS = 1000;

const running = new Set<number>();

/** Whether a process is, or just was, a tool that we run: its netlink port, in notifications, is its process id. */
export const isOurTool = (pid: number): boolean => running.has(pid);

/** Remembers it until a second after its end. */
export function remember(child: ChildProcess): void {
  const { pid } = child;
  if (pid === undefined) return;
  running.add(pid);
  child.on("close", () => setTimeout(() => running.delete(pid), REMEMBERED_MS).unref());
}

/** Runs a tool to its end and returns what it printed. IptablesError for every way in which it can fail. */
export async function run(job: Run): Promise<string> {
  const { tool, timeoutMs = 60_000 } = job;
  const [file, args] = commandOf(job);
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const child = spawn(file, args, {
    env: environmentOf(job),
    stdio: ["pipe", "pipe", "pipe"],
    timeout: timeoutMs,
    killSignal: "SIGKILL",
  });
  remember(child);
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  let size = 0;
  child.stdout.on("data", (chunk: Buffer) => {
    size += chunk.length;
    if (size > MAX_OUTPUT) child.kill("SIGKILL");
    else out.push(chunk);
  });
  child.stderr.on("data", (chunk: Buffer) => size < MAX_OUTPUT && err.push(chunk));
  child.stdin.on("error", () => {}); // EPIPE: the tool ended before reading all; its exit code tells why
  child.on("error", (cause: NodeJS.ErrnoException) => {
    reject(
      cause.code === "ENOENT"
        ? missing(file)
        : new IptablesError("rejected", { tool, reason: cause.message }),
    );
  });
  child.on("close", (code, signal) => {
    const said = Buffer.concat(err).toString().trim();
    if (code === 0) resolve(Buffer.concat(out).toString());
    else if (signal) reject(new IptablesError("timeout", { tool, reason: `killed after ${timeoutMs} ms` }));
    else reject(failure(job, { exit: code ?? -1, said }));
  });
  child.stdin.end(job.input ?? "");
  return promise;
}

function missing(tool: string): IptablesError {
  const name = PACKAGES[tool] ?? "iptables";
  return new IptablesError("missing-tool", { tool, reason: `not found; on Debian: apt-get install ${name}` });
}

/** The program and its arguments, in the job's namespace. */
export function commandOf({ tool, args, namespace }: Run): [string, string[]] {
  return namespace ? ["nsenter", [`--net=${namespace}`, tool, ...args]] : [tool, [...args]];
}

/** Ours, in plain English, with the directories that a user's PATH lacks. */
export function environmentOf({ env }: Run): NodeJS.ProcessEnv {
  return { ...process.env, LC_ALL: "C", PATH: `${process.env.PATH ?? ""}:/usr/sbin:/sbin`, ...env };
}

/** How a tool ended. `linesBefore`: lines it had read before the job's input. */
export interface Ending {
  readonly exit: number;
  readonly said: string;
  readonly linesBefore?: number;
}

/** ENOMEM, ENOBUFS, EINTR, EAGAIN, EMFILE, ENFILE and EPERM, as the tools say them: another time the same lines may go in. */
const NO_JUDGEMENT =
  /Memory allocation problem|Cannot allocate memory|No buffer space available|Interrupted system call|Resource temporarily unavailable|Too many open files|Operation not permitted/;

/** What the exit and the words of a tool mean (pure). */
export function failure(job: Run, { exit, said, linesBefore = 0 }: Ending): IptablesError {
  const { tool, namespace } = job;
  if (namespace !== undefined && exit === 127) return missing(tool);
  if (/holding the xtables lock/.test(said)) return new IptablesError("locked", { tool, reason: said });
  if (/Message too long/.test(said)) return new IptablesError("too-long", { tool, reason: said });
  const reason = said || `exit ${exit}`;
  if (NO_JUDGEMENT.test(said)) return new IptablesError("exhausted", { tool, reason });
  const number = Number(/\bline:? (\d+)/.exec(said)?.[1] ?? Number.NaN) - linesBefore;
  return new IptablesError("rejected", { tool, reason, ...culprit(job.input ?? "", number, said) });
}

/** The input's line that the tool complained of; for a chain found missing at COMMIT, the rule that names it. */
function culprit(input: string, number: number, said: string): Pick<IptablesErrorFacts, "line" | "text"> {
  if (Number.isNaN(number)) return {};
  const lines = input.split("\n");
  const named = /'([^']+)' does not exist/.exec(said)?.[1];
  const caller =
    named === undefined ? -1 : lines.findIndex((line) => / -[jg] (\S+)/.exec(line)?.[1] === named);
  const line = caller < 0 ? number : caller + 1;
  const text = lines[line - 1];
  return text === undefined ? { line } : { line, text };
}
