/** What has been done, each with how to take it back. */
export class Undo {
  readonly #steps: { readonly name: string; readonly run: () => Promise<unknown> }[] = [];

  /** Call before the step itself: one that fails half-way is taken back too. */
  push(name: string, run: () => Promise<unknown>): void {
    this.#steps.push({ name, run });
  }

  /**
   * Takes everything back, last first. A step that fails does not stop the others; what failed is answered.
   */
  async run(): Promise<{ name: string; error: unknown }[]> {
    const failed: { name: string; error: unknown }[] = [];
    for (const { name, run } of this.#steps.toReversed()) {
      try {
        await run();
      } catch (error) {
        failed.push({ name, error });
      }
    }
    return failed;
  }
}
