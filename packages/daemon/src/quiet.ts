/** How often the process looks at itself. */
const LOOK_MS = 2000;
/** CPU between two looks, in ms: less is quiet, and so much since the last act makes another worth while. */
const QUIET_MS = 20;
const BUSY_MS = 200;

/** What a look sees. */
interface Seen {
  /** CPU of the process since its start, in ms. */
  readonly cpuMs: number;
  /** The same when it had last acted. */
  readonly actedAtMs: number;
  /** At the last look. */
  readonly beforeMs: number;
}

/** Whether to act now: something was done since the last time, and nothing is being done now (pure). */
export const isDue = ({ cpuMs, actedAtMs, beforeMs }: Seen): boolean =>
  cpuMs - beforeMs < QUIET_MS && cpuMs - actedAtMs >= BUSY_MS;

/** Does something each time the process has come to rest, its start-up included. The timer keeps nothing alive. @returns what stops it */
export function whenQuiet(act: () => void): () => Promise<void> {
  let [actedAtMs, beforeMs] = [0, 0];
  const timer = setInterval(() => {
    const isNow = isDue({ cpuMs: cpuMs(), actedAtMs, beforeMs });
    if (isNow) act();
    beforeMs = cpuMs();
    if (isNow) actedAtMs = beforeMs; // what acting costs is no reason to act
  }, LOOK_MS).unref();
  return async () => clearInterval(timer);
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
