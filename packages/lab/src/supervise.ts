import { mkdirSync, writeFileSync } from "node:fs";
import { pcErr as pc } from "./colours.ts";
import { serve } from "./control.ts";
import { type DemoOptions, demo } from "./demo.ts";
import { BIN, CONTROL_SOCKET } from "./discover.ts";
import { must } from "./exec.ts";
import { NAMESPACES } from "./fabric.ts";
import { Lab, type LabOptions } from "./lab.ts";
import { methods } from "./methods.ts";
import type { ProcessStatus } from "./processes.ts";
import { progress } from "./progress.ts";

export interface SuperviseOptions extends LabOptions {
  /** Absent: only bring the lab up. */
  readonly demo?: DemoOptions;
}

/**
 * The lab's first process, already inside its namespaces: brings everything up, serves clients, and takes everything
 * with it when it ends, in whatever way. @returns the exit code
 */
export async function supervise(options: SuperviseOptions): Promise<number> {
  const state = { name: options.name, lab: undefined as Lab | undefined, ending: false, end: () => {} };
  const ended = new Promise<void>((resolve) => {
    state.end = () => {
      state.ending = true;
      resolve();
    };
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, state.end);
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {}); // whoever read it has gone; the lab stays
  await must(["mount", "-n", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"]);
  mkdirSync(NAMESPACES);
  mkdirSync(BIN);
  writeFileSync(
    `${BIN}/margay`,
    `#!/bin/sh\nexec ${options.margay.map((word) => `'${word}'`).join(" ")} "$@"\n`,
    { mode: 0o755 },
  );
  await serve(CONTROL_SOCKET, methods(state));
  try {
    const code = await Promise.race([work(options, state), ended.then(() => undefined)]);
    if (code !== undefined && options.demo?.once) return code;
    if (code !== undefined) await ended;
    return 0;
  } finally {
    state.ending = true;
    await state.lab?.stop();
  }
}

async function work(options: SuperviseOptions, state: { lab: Lab | undefined }): Promise<number> {
  const { step, timings } = progress(process.stderr);
  const lab = await Lab.start(options, { step, onExit: (...gone) => state.lab && reportExit(...gone) });
  if (!options.demo) {
    state.lab = lab;
    process.stderr.write(`${pc.green("✓")} lab ${options.name} is up\n`);
    return 0;
  }
  const code = await demo(lab, { ...options.demo, step, timings });
  state.lab = lab;
  return code;
}

function reportExit({ name, ended, log }: ProcessStatus, lastWords: string): void {
  process.stderr.write(`${pc.red(`${name} has ended (${ended})`)}, its last words (${log}):\n${lastWords}\n`);
}
