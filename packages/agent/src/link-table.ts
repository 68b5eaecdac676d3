import { DOOMED_GROUP, type Link } from "@margay/netlink";

/** The node's interfaces as the kernel told of them: which are up, and which went away since routes were last written. */
export class LinkTable {
  readonly #links = new Map<string, Link>();
  /** Gone down, removed or made anew: the kernel dropped their IPv4 routes without a word. */
  readonly #lost = new Set<string>();
  /** Those that were there before the rules that are in force, by index; undefined before the first reading. */
  #former: ReadonlySet<number> | undefined;
  /** Told of since `takeTouched`; undefined: all may be others. */
  #touched: Set<string> | undefined;
  /** The same since `takeRegrouped`. */
  #regrouped: Set<string> | undefined;

  /** A full reading. What it no longer has, or has anew, is lost. */
  reset(links: readonly Link[]): void {
    const names = new Set(links.map(({ name }) => name));
    for (const name of [...this.#links.keys()]) if (!names.has(name)) this.#remove(name);
    for (const link of links) this.#put(link);
    this.#touched = undefined;
    this.#regrouped = undefined;
    if (!this.#former) this.grewOld();
  }

  /** Other rules are in force from now on: nothing may be said of what went on before. */
  grewOld(): void {
    this.#former = new Set([...this.#links.values()].map(({ index }) => index));
  }

  /** One notification. Whether it changes what can be programmed: a link came, went, went up or down, or into another group. */
  apply({ change, link }: { readonly change: "new" | "deleted"; readonly link: Link }): boolean {
    const before = this.#links.get(link.name);
    if (link.group === DOOMED_GROUP && before?.index === link.index) return false; // what becomes of it is told next
    if (change === "new") this.#put(link);
    else if (before?.index === link.index) this.#remove(link.name);
    const after = this.#links.get(link.name);
    return before?.index !== after?.index || before?.up !== after?.up || before?.group !== after?.group;
  }

  /** Undefined where there is none. */
  groupOf(name: string): number | undefined {
    return this.#links.get(name)?.group;
  }

  /** Whether it came after the rules that are in force; one that is not there yet will have. */
  isFresh(name: string): boolean {
    const index = this.#links.get(name)?.index;
    return index === undefined || !this.#former?.has(index);
  }

  /** What we did ourselves, before the kernel tells. */
  grouped(name: string, group: number): void {
    const link = this.#links.get(name);
    if (!link) return;
    this.#links.set(name, { ...link, group });
    this.#touch(name);
  }

  isUp(name: string): boolean {
    return this.#links.get(name)?.up ?? false;
  }

  /** Whether the interface's routes may be gone although it is there. */
  isLost(name: string): boolean {
    return this.#lost.has(name);
  }

  /** Whether a lost interface is back, so that routes must be read again. Forgets those; others may be back before routes are written. */
  takeLost(): boolean {
    const back = [...this.#lost].filter((name) => this.isUp(name));
    for (const name of back) this.#lost.delete(name);
    return back.length > 0;
  }

  /**
   * The interfaces of which `isUp` may say another thing than when this was last asked; undefined if that may be any. Those that
   * are away have no routes from now on, so none to lose.
   */
  takeTouched(): ReadonlySet<string> | undefined {
    for (const name of this.#lost) if (!this.isUp(name)) this.#lost.delete(name);
    const touched = this.#touched;
    this.#touched = new Set();
    return touched;
  }

  /** The interfaces that may be in another group than when this was last asked, or be new; undefined if that may be any. */
  takeRegrouped(): ReadonlySet<string> | undefined {
    const regrouped = this.#regrouped;
    this.#regrouped = new Set();
    return regrouped;
  }

  #touch(name: string): void {
    this.#touched?.add(name);
    this.#regrouped?.add(name);
  }

  #put(link: Link): void {
    this.#touch(link.name);
    const before = this.#links.get(link.name);
    if (before?.up && (!link.up || before.index !== link.index)) this.#lost.add(link.name);
    this.#links.set(link.name, link);
  }

  #remove(name: string): void {
    this.#touch(name);
    if (this.#links.delete(name)) this.#lost.add(name);
  }
}
