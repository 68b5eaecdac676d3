import { ControlError, controlGet } from "@margay/daemon";
import { dump, type Form, type Terminal } from "./terminal.ts";

interface DaemonStatus {
  readonly daemon: string;
  readonly ready: boolean;
  /** What is wrong and what to do about it; of one that is ready, what it does without. */
  readonly reasons: readonly string[];
}

const DAEMONS = ["agent", "bgpd"];

/** `margay node status`: resolves to whether both daemons of this node are ready; those that are not say why. */
export async function nodeStatus(
  { runDir, output }: { runDir: string; output: Form },
  terminal: Terminal,
): Promise<boolean> {
  const all = await Promise.all(DAEMONS.map((daemon) => statusOf(runDir, daemon)));
  terminal.print(
    output === "table" ? all.map((status) => statusText(status, terminal)).join("\n") : dump(output, all),
  );
  return all.every(({ ready }) => ready);
}

async function statusOf(runDir: string, daemon: string): Promise<DaemonStatus> {
  try {
    const answer = (await controlGet(runDir, daemon, "/ready")) as {
      ready: boolean;
      reasons?: readonly string[];
    };
    return { daemon, ready: answer.ready, reasons: answer.reasons ?? [] };
  } catch (error) {
    if (error instanceof ControlError) return { daemon, ready: false, reasons: [error.message] };
    throw error;
  }
}

function statusText({ daemon, ready, reasons }: DaemonStatus, { colours }: Terminal): string {
  const state = ready ? colours.green("ready") : colours.red("not ready");
  return [`${daemon.padEnd(6)} ${state}`, ...reasons.map((reason) => `       ${reason}`)].join("\n");
}
