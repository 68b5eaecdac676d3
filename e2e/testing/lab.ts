import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const MARGAY = resolve(fileURLToPath(import.meta.url), "../../../packages/margay/dist/margay.mjs");

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the built margay executable to its end, as a person would who reads from a pipe. `wrapper`: words in front of it. */
export async function margay(
  words: readonly string[],
  input = "",
  wrapper: readonly string[] = [],
): Promise<Outcome> {
  const child = start(words, wrapper);
  let stdout = "";
  let stderr = "";
  child.stdout?.setEncoding("utf8").on("data", (chunk) => (stdout += chunk));
  child.stderr?.setEncoding("utf8").on("data", (chunk) => (stderr += chunk));
  child.stdin?.end(input);
  const code = await exitOf(child);
  return { code, stdout, stderr };
}

const running = new Set<ChildProcess>();

/** Starts the built margay executable with pipes; it dies with the test run, however that ends. */
export function start(words: readonly string[], wrapper: readonly string[] = []): ChildProcess {
  if (!existsSync(MARGAY)) throw new Error("the margay executable is not built: npm run build");
  return startProgram([...wrapper, process.execPath, MARGAY, ...words]);
}

/** The same of any program. What makes colours is up to the program: jest's own wish for them is not handed on. */
export function startProgram(command: readonly string[]): ChildProcess {
  const { NO_COLOR: _, FORCE_COLOR: __, ...env } = process.env;
  const child = spawn("setpriv", ["--pdeathsig", "KILL", "--", ...command], { env });
  running.add(child.once("close", () => running.delete(child)));
  return child;
}

/** Ends what a failed test may have left running; jest would wait for it. */
export async function endAll(): Promise<void> {
  const all = [...running];
  for (const child of all) child.kill("SIGKILL");
  await Promise.all(all.map(exitOf));
}

/** The exit code once it has ended and everything it wrote is read; 128 for a signal. */
export const exitOf = (child: ChildProcess): Promise<number> =>
  new Promise((resolve) => child.once("close", (code) => resolve(code ?? 128)));

export interface ProbeCell {
  readonly from: string;
  readonly to: string;
  readonly answers: readonly { readonly family: number; readonly answer: string }[];
}

export interface PodView {
  readonly name: string;
  readonly namespace: string;
  readonly node: string;
  readonly networkNamespace: string;
  readonly addresses: readonly string[];
}

/** A running lab, driven by its command line only. It dies with the test run, however that ends. */
export class TestLab {
  readonly name: string;
  readonly #process: ChildProcess;

  private constructor(name: string, process: ChildProcess) {
    this.name = name;
    this.#process = process;
  }

  /** `margay lab up`, ready when it returns. Its name is this run's own, so that two test runs can share a machine. */
  static async up(subject: string, flags: readonly string[] = []): Promise<TestLab> {
    const name = `e2e-${subject.replace(/^e2e-/, "")}-${process.pid}`;
    const child = start(["lab", "up", "--name", name, ...flags]);
    let said = "";
    const ended = exitOf(child).then((code) => {
      throw new Error(`lab ${name} did not come up, exit ${code}:\n${said}`);
    });
    const up = new Promise<void>((resolve) => {
      child.stderr?.setEncoding("utf8").on("data", (chunk) => {
        said += chunk;
        if (said.includes(`lab ${name} is up`)) resolve();
      });
    });
    await Promise.race([up, ended]);
    ended.catch(() => {}); // later it is `down` that ends it
    return new TestLab(name, child);
  }

  /** `margay lab <words> --name <this>`, whatever comes out. */
  run(words: readonly string[]): Promise<Outcome> {
    return margay(["lab", ...words, "--name", this.name]);
  }

  /** The same, and its output. Throws with its words when it fails. */
  async must(words: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(words);
    if (code !== 0) throw new Error(`margay lab ${words.join(" ")}: exit ${code}\n${stdout}${stderr}`);
    return stdout;
  }

  /** A command at a place of the lab: a pod, a node, "tor", "fabric". */
  exec(place: string, command: readonly string[], input = ""): Promise<Outcome> {
    return margay(["lab", "exec", place, "--name", this.name, "--", ...command], input);
  }

  /** What answers an HTTP GET there: status and text. */
  async get(place: string, url: string): Promise<string> {
    const script = `fetch("${url}").then(async (r) => process.stdout.write(r.status + " " + (await r.text())))`;
    return (await this.exec(place, [process.execPath, "-e", script])).stdout;
  }

  /** A command at a place, left running with pipes. */
  spawn(place: string, command: readonly string[]): ChildProcess {
    return start(["lab", "exec", place, "--name", this.name, "--", ...command]);
  }

  /** A margay command inside the lab, such as `apply -f -`; its output. Throws with its words when it fails. */
  async margay(words: readonly string[], input = ""): Promise<string> {
    const { code, stdout, stderr } = await this.exec("fabric", ["margay", ...words], input);
    if (code !== 0) throw new Error(`margay ${words.join(" ")}: exit ${code}\n${stdout}${stderr}`);
    return stdout;
  }

  /** Applies, and waits until every node enforces it. */
  async apply(yaml: string): Promise<void> {
    await this.margay(["apply", "-f", "-"], yaml);
    await this.wait();
  }

  /** Deletes, and waits until no node enforces it any more. */
  async delete(yaml: string): Promise<void> {
    await this.margay(["delete", "-f", "-"], yaml);
    await this.wait();
  }

  async wait(): Promise<void> {
    await this.margay(["wait", "--timeout", "120"]);
  }

  async pods(): Promise<PodView[]> {
    return JSON.parse(await this.must(["pods", "-o", "json"])) as PodView[];
  }

  /** "a>b" for every pair whose two families all got through; "a>b v4" when only one did. */
  async reached(flags: readonly string[] = []): Promise<string[]> {
    const { cells } = JSON.parse(await this.must(["probe", "-o", "json", ...flags])) as {
      cells: ProbeCell[];
    };
    return cells.flatMap(({ from, to, answers }) => {
      const through = answers.filter(({ answer }) => answer === "reached").map(({ family }) => family);
      if (through.length === 0) return [];
      return [`${from}>${to}${through.length === answers.length ? "" : ` v${through.join("")}`}`];
    });
  }

  async down(): Promise<void> {
    if (!running.has(this.#process)) return;
    const gone = exitOf(this.#process);
    this.#process.kill("SIGTERM");
    await gone;
  }
}

/** Asks until `question` is answered with true; throws `what` after `timeoutMs`. */
export async function eventually(
  what: string,
  question: () => Promise<boolean>,
  timeoutMs = 120_000,
): Promise<void> {
  const end = Date.now() + timeoutMs;
  while (!(await question())) {
    if (Date.now() > end) throw new Error(`not within ${timeoutMs / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
