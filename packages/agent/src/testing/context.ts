import { setTimeout as sleep } from "node:timers/promises";
import type { DaemonContext } from "@margay/daemon";
import type { Store } from "@margay/datastore";
import { Registry } from "prom-client";

/** Resolves after `ms`, or early when the signal aborts. */
export const pause = (ms: number, signal?: AbortSignal): Promise<void> =>
  sleep(ms, undefined, { ...(signal && { signal }) }).catch(() => undefined);

type Event = Readonly<Record<string, unknown>>;

/** A daemon's surroundings, with what it told them kept. */
export interface TestContext {
  readonly daemon: DaemonContext;
  /** Logged events of that name, in order. */
  readonly events: (name: string) => Event[];
  /** Unmet conditions of readiness, with why. */
  readonly notReady: () => (readonly [name: string, why: string])[];
  /** What the control socket would answer. */
  readonly get: (path: string) => Promise<unknown>;
}

export function testContext(given: {
  store: Store;
  node: string;
  runDir: string;
  options?: object;
}): TestContext {
  const logged: Event[] = [];
  const write = (event: Event) => void logged.push(event);
  const conditions = new Map<string, string | undefined>([["dataplane", "not told"]]);
  const views = new Map<string, (query: Readonly<Record<string, string>>) => unknown>();
  const daemon = {
    ...{
      store: given.store,
      node: given.node,
      metrics: new Registry(),
      options: { runDir: given.runDir, ...given.options },
    },
    log: { debug: () => {}, info: write, warn: write, error: write },
    health: {
      ready: (name: string, isReady: boolean, why = "not yet") =>
        conditions.set(name, isReady ? undefined : why),
      live: () => {},
    },
    control: { get: (path: string, view: () => unknown) => views.set(path, view) },
  } as unknown as DaemonContext; // of the options and the log just what the agent uses
  return {
    daemon,
    events: (name) => logged.filter(({ event }) => event === name),
    notReady: () =>
      [...conditions].flatMap(([name, why]) => (why === undefined ? [] : [[name, why] as const])),
    get: async (path) => views.get(path)?.({}),
  };
}
