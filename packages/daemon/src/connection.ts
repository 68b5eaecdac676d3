import { StoreError, type SyncStatus } from "@margay/datastore";
import type { DaemonContext } from "./run-daemon.ts";
import { Troubles } from "./troubles.ts";

/**
 * What a daemon says of its datastore: readiness `datastore` is true while it is followed, and its loss is one line in the log,
 * however often connecting fails. Liveness is not touched: what is in the kernel stays in force, and a restart would mend nothing.
 */
export function connectionTeller({
  log,
  health,
}: Pick<DaemonContext, "log" | "health">): (status: SyncStatus) => void {
  const troubles = new Troubles(log, { datastore: StoreError });
  health.ready("datastore", false, "the datastore has not been read yet");
  return (status) => {
    if (status.kind === "connected") {
      troubles.end("stream");
      log.info({ event: "datastore-connected", revision: status.revision }, "following the datastore");
    } else if (!troubles.begin("stream", status.error))
      log.warn({ event: "datastore-lost", err: status.error }, status.error.message);
    health.ready("datastore", status.kind === "connected", troubles.texts().join("; "));
  };
}
