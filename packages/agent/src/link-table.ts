import type { Link } from "@margay/netlink";

/** The node's interfaces as the kernel told of them: which are up, and which went away since routes were last written. */
export class LinkTable {
  readonly #links = new Map<string, Link>();
  /** Gone down, removed or made anew: the kernel dropped their IPv4 routes without a word. */
  readonly #lost = new Set<string>();

  /** A full reading. What it no longer has, or has anew, is lost. */
  reset(links: readonly Link[]): void {
    const names = new Set(links.map(({ name }) => name));
    for (const name of [...this.#links.keys()]) if (!names.has(name)) this.#remove(name);
    for (const link of links) this.#put(link);
  }

  /** One notification. Whether it changes what can be programmed: a link came, went, or went up or down. */
  apply({ change, link }: { readonly change: "new" | "deleted"; readonly link: Link }): boolean {
    const before = this.#links.get(link.name);
    if (change === "new") this.#put(link);
    else if (before?.index === link.index) this.#remove(link.name);
    const after = this.#links.get(link.name);
    return before?.index !== after?.index || before?.up !== after?.up;
  }

  isUp(name: string): boolean {
    return this.#links.get(name)?.up ?? false;
  }

  /** Whether the interface's routes may be gone although it is there. */
  isLost(name: string): boolean {
    return this.#lost.has(name);
  }

  /** Whether a lost interface is back, so that routes must be read again. Forgets what was lost. */
  takeLost(): boolean {
    const isBack = [...this.#lost].some((name) => this.isUp(name));
    this.#lost.clear();
    return isBack;
  }

  #put(link: Link): void {
    const before = this.#links.get(link.name);
    if (before?.up && (!link.up || before.index !== link.index)) this.#lost.add(link.name);
    this.#links.set(link.name, link);
  }

  #remove(name: string): void {
    if (this.#links.delete(name)) this.#lost.add(name);
  }
}
