import type { Logger } from "pino";

/** A store's or a server's error: its code says whether it is out of reach, or refuses us. */
export type ErrorClass = new (...words: never[]) => Error & { readonly code: string };

interface Trouble {
  /** What several have in common. */
  readonly cause: string;
  readonly message: string;
}

/** Codes of what lasts until somebody does something about it. */
const LASTING = new Set([
  "unavailable",
  "unauthorized",
  "denied",
  "forbidden",
  "throttled",
  "expired",
  "compacted",
]);

/** Those that are the same trouble for whoever asks, whatever for: only their words differ. */
const COMMON = new Set(["unavailable", "unauthorized", "denied"]);

/**
 * What is out of reach, or refuses us, and for how long. A datastore that is away stops two dozen parts and all that they have
 * under way, and each tries again and again: that is one line in the log and one reason in readiness, and one line more when all
 * of them go on.
 */
export class Troubles {
  readonly #log: Pick<Logger, "info" | "warn">;
  readonly #kinds: Readonly<Record<string, ErrorClass>>;
  readonly #lasting = new Map<string, Trouble>();

  /** `kinds`: what may be away, by name, and its errors: `{ datastore: StoreError }`. */
  constructor(log: Pick<Logger, "info" | "warn">, kinds: Readonly<Record<string, ErrorClass>>) {
    this.#log = log;
    this.#kinds = kinds;
  }

  /** @returns false for an error of another kind, which is the caller's to tell */
  begin(source: string, error: unknown): boolean {
    const kind = Object.keys(this.#kinds).find((one) => error instanceof (this.#kinds[one] as ErrorClass)); // of its keys
    if (kind === undefined) return false;
    const { code, message } = error as InstanceType<ErrorClass>; // one of the kinds
    if (!LASTING.has(code)) return false;
    const cause = COMMON.has(code) ? `${kind} ${code}` : message;
    if (!this.#causes().has(cause)) this.#log.warn({ event: `${kind}-lost`, source }, message);
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
