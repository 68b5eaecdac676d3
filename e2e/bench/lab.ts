import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const DIST = fileURLToPath(new URL("../../packages/margay/dist/", import.meta.url));
const MARGAY = `${DIST}margay.mjs`;
const RELAY = `${DIST}margay-cni`;
const INSIDE = fileURLToPath(new URL("inside.ts", import.meta.url));
const BGP = fileURLToPath(new URL("bgp/main.ts", import.meta.url));
/** Benchmarks that need no lab, each a program. */
const ALONE: Readonly<Record<string, string>> = {
  "ipam-1000-nodes": fileURLToPath(new URL("ipam-scale.ts", import.meta.url)),
  "controllers-scale": fileURLToPath(new URL("controllers-scale.ts", import.meta.url)),
  "policy-scale": fileURLToPath(new URL("policy-scale.ts", import.meta.url)),
  "calc-scale": fileURLToPath(new URL("calc-scale.ts", import.meta.url)),
  "bgp-kernel": fileURLToPath(new URL("bgp/kernel.ts", import.meta.url)),
};
const READY_MS = 120_000;
const execute = promisify(execFile);

/** A lab for one group of benchmarks. It dies with this process, however that ends. */
export interface BenchLab {
  /** Runs one benchmark in the lab's namespaces. @returns its JSON lines. Error when it fails; its words went to stderr. */
  readonly bench: (name: string, quick: boolean) => Promise<string[]>;
  readonly end: () => Promise<void>;
}

/** Brings a lab up through the command that people use. Error when it does not come up. */
export async function labUp(flags: readonly string[]): Promise<BenchLab> {
  if (!existsSync(MARGAY)) throw new Error("not built; run: npm run build");
  const name = `bench-${process.pid}`;
  const command = ["lab", "up", "--name", name, ...flags];
  const child = mortal([MARGAY, ...command], "ignore");
  const end = async () => {
    child.kill("SIGTERM");
    while (running(child)) await delay(20);
  };
  const stop = () => void end().then(() => process.exit(130));
  process.once("SIGINT", stop).once("SIGTERM", stop);
  await ready(child, name);
  const bench = (benchmark: string, quick: boolean) => {
    const words = [
      "lab",
      "exec",
      "--name",
      name,
      "fabric",
      "--",
      process.execPath,
      "--conditions=margay-source",
    ];
    return lines([MARGAY, ...words, INSIDE, benchmark, RELAY, quick ? "quick" : "full"]);
  };
  return {
    bench,
    end: () => {
      process.off("SIGINT", stop).off("SIGTERM", stop);
      return end();
    },
  };
}

/** For benchmarks that need no lab. */
export const withoutLab: BenchLab = {
  bench: (name, quick) => {
    const words = ALONE[name] ? [ALONE[name]] : [BGP, name];
    return lines(["--conditions=margay-source", "--no-warnings", ...words, quick ? "quick" : "full"]);
  },
  end: async () => {},
};

/** Runs Node with these words; it dies with us, even when we are killed. */
const mortal = (words: readonly string[], stdout: "ignore" | "pipe"): ChildProcess =>
  spawn("setpriv", ["--pdeathsig", "KILL", "--", process.execPath, ...words], {
    stdio: ["ignore", stdout, "inherit"],
  });

const running = (child: ChildProcess): boolean => child.exitCode === null && child.signalCode === null;

async function ready(child: ChildProcess, name: string): Promise<void> {
  for (const end = performance.now() + READY_MS; performance.now() < end; await delay(300)) {
    if (!running(child)) throw new Error("the lab did not come up");
    const asked = await execute(process.execPath, [
      MARGAY,
      "lab",
      "status",
      "--name",
      name,
      "-o",
      "json",
    ]).catch(() => undefined);
    if (asked?.stdout.includes('"phase": "ready"')) return;
  }
  child.kill("SIGKILL");
  throw new Error(`the lab is not ready after ${READY_MS / 1000} s`);
}

function lines(command: readonly string[]): Promise<string[]> {
  const child = mortal(command, "pipe");
  const { promise, resolve, reject } = Promise.withResolvers<string[]>();
  let text = "";
  child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  child.on("error", reject);
  child.on("close", (code) => {
    if (code === 0) resolve(text.split("\n").filter((line) => line !== ""));
    else reject(new Error(`exit code ${code}`));
  });
  return promise;
}
