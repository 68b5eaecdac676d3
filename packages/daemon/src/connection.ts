import { StoreError } from "@margay/datastore";
import type { DaemonContext } from "./run-daemon.ts";
import { type ErrorClass, Troubles } from "./troubles.ts";

/** What is followed: its name in conditions and events, the errors by which it is away, and itself in words. */
export interface Source {
  readonly name: string;
  readonly errors: ErrorClass;
  readonly words: string;
}

const DATASTORE: Source = { name: "datastore", errors: StoreError, words: "the datastore" };

type Status =
  | { readonly kind: "connected"; readonly revision?: number }
  | { readonly kind: "disconnected"; readonly error: Error };

/**
 * What a daemon says of what it follows: the condition of readiness is true while it does, and its loss is one line in the log,
 * however often connecting fails. Liveness is not touched: what is in the kernel stays in force, and a restart would mend nothing.
 */
export function connectionTeller(
  { log, health }: Pick<DaemonContext, "log" | "health">,
  { name, errors, words }: Source = DATASTORE,
): (status: Status) => void {
  const troubles = new Troubles(log, { [name]: errors });
  let isConnected = false; // a watch that ends and begins anew is no news
  health.ready(name, false, `${words} has not been read yet`);
  return (status) => {
    const wasConnected = isConnected;
    isConnected = status.kind === "connected";
    if (status.kind === "connected") {
      troubles.end("stream");
      if (!wasConnected)
        log.info({ event: `${name}-connected`, revision: status.revision }, `following ${words}`);
      health.ready(name, true);
      return;
    }
    const { error } = status;
    if (!troubles.begin("stream", error)) log.warn({ event: `${name}-lost`, err: error }, error.message);
    health.ready(name, false, error.message);
  };
}
