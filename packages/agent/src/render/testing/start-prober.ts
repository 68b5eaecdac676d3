import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Probe, Probed } from "./prober.ts";

/** A prober that listens on ports in a network namespace (this one if none is named); answers come back by probe id. */
export function startProber(namespace: string | undefined, ports: readonly number[]) {
  const file = fileURLToPath(new URL("prober.ts", import.meta.url));
  const node = [process.execPath, "--conditions=margay-source", file, ...ports.map(String)];
  const [command = "", ...words] =
    namespace === undefined ? node : ["nsenter", `--net=/run/netns/${namespace}`, ...node];
  const child = spawn(command, words, { stdio: ["pipe", "pipe", "inherit"] });
  const waiting = new Map<number, (probed: Probed) => void>();
  const { promise: ready, resolve } = Promise.withResolvers<void>();
  createInterface({ input: child.stdout }).on("line", (line) => {
    if (line === "ready") return resolve();
    const probed = JSON.parse(line) as Probed;
    waiting.get(probed.id)?.(probed);
  });
  const ask = (probe: Probe): Promise<Probed> => {
    const { promise, resolve } = Promise.withResolvers<Probed>();
    waiting.set(probe.id, resolve);
    child.stdin.write(`${JSON.stringify(probe)}\n`);
    return promise;
  };
  return { ready, ask, stop: () => child.stdin.end() };
}
