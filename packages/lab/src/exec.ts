import { spawn } from "node:child_process";
import { LabError } from "./errors.ts";

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ExecOptions {
  readonly input?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  /** Default 60,000 ms: network namespaces are made one at a time, and while others go not at all. Then SIGKILL. */
  readonly timeoutMs?: number;
}

/** Runs a program to its end. Rejects only when it cannot be started: LabError "missing-program". */
export function exec(command: readonly string[], options: ExecOptions = {}): Promise<Outcome> {
  const [program = "", ...args] = command;
  return new Promise((resolve, reject) => {
    const { timeoutMs = 60_000 } = options;
    const child = spawn(program, args, {
      env: options.env ? { ...process.env, ...options.env } : process.env,
      timeout: timeoutMs,
      killSignal: "SIGKILL",
    });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => (stdout += chunk));
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => (stderr += chunk));
    child.on("error", (error) =>
      reject(new LabError("missing-program", `cannot run ${program}: ${error.message}`)),
    );
    child.on("close", (code, signal) => {
      if (code === null)
        stderr += `${child.killed ? `not done within ${timeoutMs / 1000} s, ` : ""}ended by ${signal}`;
      resolve({ code: code ?? 128, stdout, stderr });
    });
    child.stdin.on("error", () => {}); // a program may end without reading its input; its exit code tells
    child.stdin.end(options.input);
  });
}

/** Like `exec`, and a failure is a LabError "command-failed" with the program's own words. @returns its stdout */
export async function must(command: readonly string[], options?: ExecOptions): Promise<string> {
  const { code, stdout, stderr } = await exec(command, options);
  if (code === 0) return stdout;
  const words = (stderr || stdout).trim().split("\n").slice(0, 3).join("; ");
  throw new LabError("command-failed", `${command.slice(0, 6).join(" ")}: ${words || `exit code ${code}`}`);
}

export interface PollOptions {
  readonly timeoutMs: number;
  /** Default 20 ms. */
  readonly everyMs?: number;
  /** Ends the message of the timeout: "… not ready after 10 s". A function is asked at the end. */
  readonly what: string | (() => string);
}

/** Asks until `question` gives something defined. LabError "timeout" after `timeoutMs`. */
export async function until<T>(
  question: () => Promise<T | undefined> | T | undefined,
  options: PollOptions,
): Promise<T> {
  const end = Date.now() + options.timeoutMs;
  for (;;) {
    const answer = await question();
    if (answer !== undefined) return answer;
    if (Date.now() > end) {
      const what = typeof options.what === "string" ? options.what : options.what();
      throw new LabError("timeout", `${what} after ${options.timeoutMs / 1000} s`);
    }
    await new Promise((resolve) => setTimeout(resolve, options.everyMs ?? 20));
  }
}
