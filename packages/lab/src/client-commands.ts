import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { constants } from "node:os";
import type { CommandModule } from "yargs";
import { BIN, enter, type FoundLab, findLab, findLabs, fromOutside } from "./discover.ts";
import { LabError } from "./errors.ts";
import { ENDPOINT } from "./etcd.ts";
import { endSupervisor } from "./launch.ts";
import { ask, type LabStatus } from "./methods.ts";
import { runDir, TOR } from "./places.ts";
import { lab, type Named, podId } from "./pod-commands.ts";
import { podKey } from "./pods.ts";
import { table } from "./table.ts";

const down: CommandModule<object, Named> = {
  command: "down",
  describe: "end a lab; nothing of it stays",
  builder: (yargs) => lab(yargs) as never,
  handler: async ({ name }) => {
    process.stdout.write(`lab ${await endSupervisor(name)} has ended\n`);
  },
};

const status: CommandModule<object, Named & { output: "table" | "json" }> = {
  command: "status",
  describe: "the labs of this machine and their processes",
  builder: (yargs) =>
    lab(yargs).option("output", { alias: "o", choices: ["table", "json"], default: "table" }) as never,
  handler: async ({ name, output }) => {
    const found = name === undefined ? findLabs() : [findLab(name)];
    const all = (await Promise.all(found.map(told))).flat();
    if (output === "json") process.stdout.write(`${JSON.stringify(all, null, 2)}\n`);
    else if (all.length === 0) process.stdout.write("no lab is running; start one: margay lab up\n");
    else for (const one of all) process.stdout.write(`${statusText(one)}\n`);
  },
};

type Shown = LabStatus & { readonly supervisor: number };

/** What a lab says of itself; of one whose socket is not there yet, that it starts; nothing of one that has ended since it was found. */
async function told(found: FoundLab): Promise<Shown[]> {
  const { name, pid: supervisor } = found;
  try {
    const { processes, ...status } = await ask(found)("status", undefined);
    const seen = processes.map((process) => ({ ...process, log: fromOutside(found, process.log) }));
    return [{ supervisor, ...status, processes: seen }];
  } catch (error) {
    if (!existsSync(`/proc/${supervisor}`)) return [];
    if (!(error instanceof LabError && error.code === "not-running")) throw error;
    return [{ name, supervisor, phase: "starting", nodes: [], processes: [], pods: 0 }];
  }
}

function statusText({ name, phase, supervisor, pods, processes }: Shown): string {
  const rows = processes.map((one) => [one.name, one.running ? "running" : `ended (${one.ended})`, one.log]);
  return `lab ${name}: ${phase}, ${pods} pods, supervisor ${supervisor}\n${table(["process", "state", "log"], rows)}`;
}

const exec: CommandModule<object, Named & { place: string; words?: string[]; "--"?: string[] }> = {
  command: "exec <place> [words..]",
  describe:
    "run a command in a pod, on a node, on the ToR (tor) or beside them (fabric): lab exec shop/web-1 -- ping ...",
  builder: (yargs) => lab(yargs).parserConfiguration({ "populate--": true }) as never,
  handler: async ({ name, place, words = [], "--": rest = [] }) => {
    const found = findLab(name);
    const { nodes } = await ask(found)("status", undefined);
    const node = nodes.find((one) => one.name === place);
    const places = [...nodes.map((one) => one.name), TOR.name, "fabric"];
    const known =
      place === "fabric"
        ? undefined
        : places.includes(place)
          ? place
          : await podNamespace(found, place, places);
    const command = [...words, ...rest].map(String);
    process.exitCode = await foreground(
      [...enter(found.pid, known), ...(command.length > 0 ? command : ["sh"])],
      {
        PATH: `${BIN}:${process.env.PATH ?? ""}`,
        MARGAY_ETCD_ENDPOINTS: ENDPOINT,
        ...(node && { MARGAY_NODE: place, MARGAY_RUN_DIR: runDir(place) }),
      },
    );
  },
};

async function podNamespace(found: FoundLab, place: string, others: readonly string[]): Promise<string> {
  const id = podId(place);
  const { namespacePath } = await ask(found)("pod", id).catch((error: LabError) => {
    if (error.code !== "not-found") throw error;
    throw new LabError("not-found", `${error.message}; other places: ${others.join(", ")}`);
  });
  return namespacePath.split("/").at(-1) ?? podKey(id);
}

/** Runs with our terminal; a terminal's Ctrl-C is the command's. @returns its exit code */
function foreground(command: readonly string[], env: Readonly<Record<string, string>>): Promise<number> {
  const child = spawn(command[0] ?? "", command.slice(1), {
    stdio: "inherit",
    env: { ...process.env, ...env },
  });
  process.on("SIGINT", () => {});
  process.on("SIGTERM", () => child.kill("SIGTERM"));
  return new Promise((resolve, reject) => {
    child
      .once("error", reject)
      .once("close", (code, signal) => resolve(code ?? 128 + constants.signals[signal ?? "SIGKILL"]));
  });
}

const kill: CommandModule<object, Named & { process: string; signal: NodeJS.Signals }> = {
  command: "kill <process>",
  describe: "send a signal to a process of the lab (see lab status): lab kill n1/agent",
  builder: (yargs) =>
    lab(yargs).option("signal", { alias: "s", type: "string", default: "SIGKILL" }) as never,
  handler: async ({ name, process: target, signal }) => {
    await ask(findLab(name))("signal", { name: target, signal });
  },
};

const start: CommandModule<object, Named & { process: string }> = {
  command: "start <process>",
  describe: "start again a process of the lab that has ended",
  builder: (yargs) => lab(yargs) as never,
  handler: async ({ name, process: target }) => {
    await ask(findLab(name))("restart", { name: target });
  },
};

export const clientCommands = [down, status, exec, kill, start] as CommandModule[];
