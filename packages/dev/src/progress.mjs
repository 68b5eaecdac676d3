// Progress of the set-up: one line per step that takes time, none for a step that had nothing to do.
import { spawn } from "node:child_process";
import { appendFileSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";

const tty = process.stderr.isTTY;
const seconds = (since) => `${((Date.now() - since) / 1000).toFixed(1)} s`;

/** An expected failure: one line that says what is wrong and how to mend it. */
export class SetupError extends Error {}

/**
 * Runs `work` and reports it. `work` returns false when there was nothing to do, and then nothing is printed.
 * A terminal sees a running clock, a pipe sees a line after 3 s and one every 20 s.
 */
export async function step(name, work) {
  const since = Date.now();
  const clock = setInterval(() => tty && process.stderr.write(`\r\x1b[K  ${name} … ${seconds(since)}`), 200);
  const notes = tty ? [] : [setTimeout(note, 3000), setInterval(note, 20_000)];
  function note() {
    process.stderr.write(`  ${name} … ${seconds(since)}\n`);
  }
  try {
    const done = await work();
    if (tty) process.stderr.write("\r\x1b[K");
    if (done !== false) process.stderr.write(`✓ ${name} (${seconds(since)})\n`);
  } catch (error) {
    if (tty) process.stderr.write("\r\x1b[K");
    process.stderr.write(`✗ ${name} (${seconds(since)})\n`);
    throw error;
  } finally {
    clearInterval(clock);
    for (const timer of notes) clearInterval(timer);
  }
}

/**
 * Runs a command silently; its output goes to `log`.
 * @returns {Promise<{code: number, output: string}>} never rejects for a command that ran and failed
 */
export function run(command, args, { cwd, env = {}, log } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk));
    child.on("error", (error) =>
      reject(
        new SetupError(`cannot run ${command}: ${error.code === "ENOENT" ? "not installed" : error.message}`),
      ),
    );
    child.on("close", (code) => {
      if (log) {
        mkdirSync(dirname(log), { recursive: true });
        appendFileSync(log, `$ ${command} ${args.join(" ")}\n${output}\n[exit ${code}]\n`);
      }
      resolve({ code: code ?? 1, output });
    });
  });
}

/** Like `run`, but a failure is a SetupError with the output's most telling line. */
export async function must(command, args, options = {}) {
  const { code, output } = await run(command, args, options);
  if (code === 0) return output;
  const hint = options.log ? ` (all of it: ${options.log})` : "";
  throw new SetupError(`${options.what ?? command} failed: ${telling(output)}${hint}`);
}

const OFFLINE =
  /EAI_AGAIN|ENOTFOUND|ENETUNREACH|ECONNREFUSED|ETIMEDOUT|Temporary failure resolving|Could not connect|Network is unreachable/;

/** The line of a failed command's output that a person needs. */
export function telling(output) {
  const lines = output.split("\n").map((line) => line.trim());
  const offline = lines.find((line) => OFFLINE.test(line));
  if (offline) return `no network? ${offline}`;
  const said = lines.filter(
    (line) => line !== "" && !/^npm (warn|error (code|errno|syscall|path|A complete log))/.test(line),
  );
  return said.find((line) => /^E: |\berror\b/i.test(line)) ?? said.at(-1) ?? "no output";
}
