import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { findLab, findLabs, SUPERVISE } from "./discover.ts";
import { LabError } from "./errors.ts";
import { until } from "./exec.ts";
import { isolation, needPrograms } from "./isolation.ts";
import { ask } from "./methods.ts";
import type { SuperviseOptions } from "./supervise.ts";

export type LaunchOptions = Omit<SuperviseOptions, "margay" | "relay" | "pidNamespace" | "logs"> & {
  readonly logs?: string;
};

/** How long a lab may take until a detached start gives it up. */
const READY_MS = 120_000;
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

const NAME = /^[a-z0-9][-a-z0-9]{0,31}$/;

/**
 * Runs a lab's supervisor in namespaces of its own, in the foreground. It dies with this process, however that ends.
 * @returns the supervisor's exit code. LabError "running", "missing-program", "no-namespaces", "kernel", "invalid".
 */
export async function launch(options: LaunchOptions): Promise<number> {
  const child = await spawnSupervisor(options, { detached: false });
  let signals = 0;
  const end = () => {
    if (++signals > 1)
      child.kill("SIGKILL"); // unshare dies, and with it the whole lab
    else endSupervisor(options.name).catch(() => child.kill("SIGKILL"));
  };
  for (const signal of SIGNALS) process.on(signal, end);
  return new Promise((resolve) =>
    child.once("close", (code, signal) => resolve(code ?? 128 + constants.signals[signal ?? "SIGKILL"])),
  );
}

/** Like `launch`, but returns as soon as the lab is ready and leaves it running. LabError "exited" when it did not come up, or was not to. */
export async function launchDetached(options: LaunchOptions): Promise<void> {
  const child = await spawnSupervisor(options, { detached: true });
  const giveUp = () => void child.kill("SIGKILL"); // unshare dies, and with it the whole lab: nobody else knows of it
  for (const signal of SIGNALS) process.on(signal, giveUp);
  child.stdout?.pipe(process.stdout);
  child.stderr?.pipe(process.stderr);
  const ready = async () => {
    if (child.exitCode !== null || child.signalCode !== null)
      throw new LabError("exited", `lab ${options.name} did not come up`);
    const [lab] = findLabs().filter(({ name }) => name === options.name);
    if (!lab) return undefined;
    const status = await ask(lab)("status", undefined).catch(() => undefined); // its socket is not there yet
    return status?.phase === "ready" ? true : undefined;
  };
  try {
    await until(ready, { timeoutMs: READY_MS, everyMs: 50, what: `lab ${options.name} is not ready` });
  } catch (error) {
    giveUp();
    throw error;
  }
  child.stdout?.destroy();
  child.stderr?.destroy();
  child.unref();
}

async function spawnSupervisor(
  options: LaunchOptions,
  { detached }: { detached: boolean },
): Promise<ChildProcess> {
  if (!NAME.test(options.name))
    throw new LabError(
      "invalid",
      `"${options.name}" is no lab name (lower case letters, digits, "-"; at most 32)`,
    );
  const running = findLabs().find(({ name }) => name === options.name);
  if (running) {
    throw new LabError(
      "running",
      `lab ${options.name} is running already (process ${running.pid}); end it: margay lab down --name ${options.name}`,
    );
  }
  const margay = [process.execPath, ...process.execArgv, process.argv[1] ?? ""];
  const relay = join(dirname(margay.at(-1) ?? ""), "margay-cni");
  needPrograms(relay);
  const { flags, pidNamespace } = await isolation();
  const full: SuperviseOptions = {
    ...options,
    margay,
    relay,
    pidNamespace,
    logs: options.logs ?? "/run/log",
  };
  const command = [
    ...(detached ? [] : ["setpriv", "--pdeathsig", "KILL", "--"]),
    ...["unshare", ...flags, "--", ...margay, ...SUPERVISE, options.name, "--options", JSON.stringify(full)],
  ];
  return spawn(command[0] ?? "", command.slice(1), {
    detached,
    stdio: detached ? ["ignore", "pipe", "pipe"] : "inherit",
    env: { ...process.env, ...(detached && process.stdout.isTTY && { FORCE_COLOR: "1" }) },
  });
}

/** Asks the lab to end and resolves when it is gone. LabError "not-running", "timeout". */
export async function endSupervisor(name: string | undefined): Promise<string> {
  const lab = findLab(name);
  await ask(lab)("end", undefined).catch(() => process.kill(lab.pid, "SIGTERM")); // not serving yet: the signal does the same
  await until(() => (existsSync(`/proc/${lab.pid}`) ? undefined : true), {
    timeoutMs: 60_000,
    what: `lab ${lab.name} has not ended`,
  });
  return lab.name;
}
