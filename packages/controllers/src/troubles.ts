import type { DaemonContext } from "@margay/daemon";
import { StoreError } from "@margay/datastore";
import { KubernetesError } from "@margay/kubernetes";

interface Trouble {
  /** What several have in common. */
  readonly cause: string;
  readonly message: string;
}

/**
 * What is out of reach, or refuses us, and for how long. A datastore that is away stops two dozen parts and all that they have
 * under way: that is one line in the log and one reason in readiness, and one line more when all of them go on.
 */
export class Troubles {
  readonly #log: DaemonContext["log"];
  readonly #lasting = new Map<string, Trouble>();

  constructor(log: DaemonContext["log"]) {
    this.#log = log;
  }

  /** @returns false for an error of another kind, which is the caller's to tell */
  begin(source: string, error: unknown): boolean {
    const event = eventOf(error);
    if (event === undefined) return false;
    const { message } = error as Error; // the kinds of eventOf
    const cause = isAway(error) ? event : message;
    if (!this.#causes().has(cause)) this.#log.warn({ event: `${event}-lost`, source }, message);
    this.#lasting.set(source, { cause, message });
    return true;
  }

  /** It goes on. */
  end(source: string): void {
    const ended = this.#lasting.get(source);
    if (!ended) return;
    this.#lasting.delete(source);
    if (!this.#causes().has(ended.cause))
      this.#log.info({ event: "connected", source }, `over: ${ended.message}`);
  }

  /** One text for each cause. */
  texts(): string[] {
    return [...this.#causes().values()];
  }

  #causes(): ReadonlyMap<string, string> {
    return new Map([...this.#lasting.values()].map(({ cause, message }) => [cause, message]));
  }
}

const isAway = (error: unknown): boolean =>
  (error instanceof StoreError || error instanceof KubernetesError) && error.code === "unavailable";

function eventOf(error: unknown): "datastore" | "kubernetes" | undefined {
  const codes = ["unavailable", "unauthorized", "forbidden", "throttled", "expired", "compacted"];
  if (error instanceof StoreError && codes.includes(error.code)) return "datastore";
  return error instanceof KubernetesError && codes.includes(error.code) ? "kubernetes" : undefined;
}
