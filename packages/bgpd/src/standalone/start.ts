import { readFileSync, watch } from "node:fs";
import { readFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { dirname } from "node:path";
import { setFlagsFromString } from "node:v8";
import { Compilers, type DaemonContext, settleNewSpace } from "@margay/daemon";
import { parseAddress, parsePrefix } from "@margay/net";
import { registerControls } from "../controls.ts";
import { Engine } from "../engine.ts";
import { bgpdMetrics } from "../metrics.ts";
import { pendingOf } from "../pending.ts";
import { readText } from "./read.ts";
import type { File } from "./schema.ts";
import { type OwnAddress, wantedOf } from "./wanted.ts";

/** A file is written in steps, and a ConfigMap swaps links: what settles within this is one change. */
const settleMs = 100;

/** Runs as the file says, and as it says later: it is read again when it changes and on SIGHUP. A broken one changes nothing. */
export async function startStandalone(
  context: DaemonContext,
  path: string,
): Promise<{ stop(): Promise<void> }> {
  const { log, health, control, metrics } = context;
  let text = await readFile(path, "utf8");
  let file = readText(text, path);
  const engine = await Engine.open({ log, kernel: file.kernel.install });
  const apply = (next: File) => {
    file = next;
    engine.apply(wantedOf(next, { interfaces: ownAddresses(), passwordIn }));
  };
  apply(file);

  const reload = async (why: string) => {
    try {
      const now = await readFile(path, "utf8");
      if (now === text && why !== "SIGHUP") return;
      text = now;
      const next = readText(now, path);
      if (next.kernel.install !== file.kernel.install)
        log.warn({ event: "needs-restart" }, "kernel.install changes with a restart only");
      apply(next);
      log.info({ event: "reloaded", why, neighbors: next.neighbors.length }, `${path} is in force`);
    } catch (error) {
      log.error({ event: "reload-failed", err: error }, `${(error as Error).message}; nothing was changed`);
    }
  };
  const hangUp = () => void reload("SIGHUP");
  process.on("SIGHUP", hangUp);
  let settling: NodeJS.Timeout | undefined;
  const watcher = watch(dirname(path), () => {
    clearTimeout(settling);
    settling = setTimeout(() => void reload("the file changed"), settleMs);
  });

  settleNewSpace(); // a burst of routes would let it grow to 80 MB
  // What start-up left may grow fourfold before all of it is collected, so that no table comes amid that; later V8's own rule holds.
  setFlagsFromString("--heap-growing-percent=0");
  const compilers = Compilers.open();
  engine.speaker.onWork = () => compilers?.look();
  bgpdMetrics(metrics, engine);
  const pending = () => pendingOf(engine, []);
  registerControls(control, engine, pending);
  health.ready("file", true);
  return {
    async stop() {
      process.off("SIGHUP", hangUp);
      watcher.close();
      clearTimeout(settling);
      await engine.stop();
    },
  };
}

/** What a password's file or variable holds, without the line's end. */
function passwordIn({ file, env }: { readonly file?: string; readonly env?: string }): string | undefined {
  if (file === undefined) return process.env[env ?? ""] || undefined;
  try {
    return readFileSync(file, "utf8").replace(/\r?\n$/, "") || undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** This host's addresses, loopback and link-local ones last. */
function ownAddresses(): OwnAddress[] {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const rank = (a: (typeof all)[number]) => Number(a.internal) + Number(a.address.startsWith("fe80:"));
  return all
    .toSorted((a, b) => rank(a) - rank(b))
    .flatMap(({ address, cidr }) =>
      cidr ? [{ address: parseAddress(address), subnet: parsePrefix(cidr, { mask: true }) }] : [],
    );
}
