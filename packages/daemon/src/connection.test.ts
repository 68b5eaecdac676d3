import { expect, test } from "@jest/globals";
import { StoreError } from "@margay/datastore";
import { connectionTeller } from "./connection.ts";
import { HealthState } from "./health.ts";
import type { DaemonContext } from "./run-daemon.ts";

test("an outage is one line and one reason of readiness, however often connecting fails; liveness stays", () => {
  const lines: string[] = [];
  const write = (level: string) => (fields: { event: string }, text: string) =>
    void lines.push(`${level} ${fields.event}: ${text}`);
  const log = { info: write("info"), warn: write("warn") } as unknown as DaemonContext["log"]; // just these
  const health = new HealthState(() => 0);
  health.ready("started", true);
  const tell = connectionTeller({ log, health });
  expect(health.notReady()).toEqual({ datastore: "the datastore has not been read yet" });
  for (const revision of [7, 8]) tell({ kind: "connected", revision });
  expect(health.notReady()).toEqual({});
  for (const text of ["the connection is lost", "refused", "refused"])
    tell({ kind: "disconnected", error: new StoreError("unavailable", text) });
  expect(health.notReady()).toEqual({ datastore: "refused" });
  expect(health.notLive()).toEqual({});
  tell({ kind: "disconnected", error: new StoreError("compacted", "list again") });
  tell({ kind: "connected", revision: 9 });
  expect(health.notReady()).toEqual({});
  expect(lines).toEqual([
    "info datastore-connected: following the datastore",
    "warn datastore-lost: the connection is lost",
    "warn datastore-lost: list again",
    "info connected: over: list again",
    "info datastore-connected: following the datastore",
  ]);
});
