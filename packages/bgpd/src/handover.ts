/** So long our route stays when the agent takes a destination over: the agent's, which is the better one, has to be there first. */
const handoverMs = 3000;

/** Which destinations are left to the agent by now, given which ones shall be. */
export class Handover {
  readonly #onEnd: () => void;
  #left: ReadonlySet<string> | undefined;
  /** Those just left, where ours still is. */
  readonly #fresh = new Set<string>();
  #timer: NodeJS.Timeout | undefined;

  /** `onEnd`: `isLeft` answers differently now. */
  constructor(onEnd: () => void) {
    this.#onEnd = onEnd;
  }

  /** What is left by the first word is left at once: there is nothing of ours yet. */
  set(left: ReadonlySet<string>): void {
    const before = this.#left;
    this.#left = left;
    for (const key of [...this.#fresh]) if (!left.has(key)) this.#fresh.delete(key);
    const fresh = before ? [...left].filter((key) => !before.has(key)) : [];
    for (const key of fresh) this.#fresh.add(key);
    if (fresh.length === 0) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#end(), handoverMs).unref();
  }

  isLeft(key: string): boolean {
    return (this.#left?.has(key) ?? false) && !this.#fresh.has(key);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #end(): void {
    this.#fresh.clear(); // whatever came meanwhile has set the timer anew
    this.#onEnd();
  }
}
