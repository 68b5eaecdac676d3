import type { InterfaceAddresses } from "@margay/calc";
import { formatAddress } from "@margay/net";
import { type ListedAddress, listAddresses, type Netlink } from "@margay/netlink";

/**
 * Which interface of the node has which addresses, followed live: host endpoints may be found by them. Link-local ones are
 * left out: they find no interface, and each pod's has one.
 */
export class HostAddresses {
  readonly #netlink: Netlink;
  readonly #onChange: (interfaces: InterfaceAddresses) => void;
  /** By the interface's index: its name may change. */
  readonly #known = new Map<number, Set<string>>();

  constructor(netlink: Netlink, onChange: (interfaces: InterfaceAddresses) => void) {
    this.#netlink = netlink;
    this.#onChange = onChange;
  }

  /** Reads them all; again when notifications were lost. */
  async read(): Promise<void> {
    await this.#netlink.links();
    const all = await listAddresses(this.#netlink);
    this.#known.clear();
    for (const address of all) this.#file("new", address);
    this.#tell();
  }

  heed(change: "new" | "deleted", address: ListedAddress): void {
    if (this.#file(change, address)) this.#tell();
  }

  /** An interface that has addresses may have another name now. */
  heedLink(index: number): void {
    if (this.#known.has(index)) this.#tell();
  }

  /** Whether it is news. */
  #file(change: "new" | "deleted", { index, address, scope }: ListedAddress): boolean {
    if (scope === "link") return false;
    const its = this.#known.get(index) ?? new Set();
    const text = formatAddress(address);
    if (its.has(text) === (change === "new")) return false;
    if (change === "new") this.#known.set(index, its.add(text));
    else if (its.delete(text) && its.size === 0) this.#known.delete(index);
    return true;
  }

  #tell(): void {
    this.#onChange(
      new Map(
        [...this.#known].flatMap(([index, its]) => {
          const name = this.#netlink.nameOf(index);
          return name === undefined ? [] : [[name, new Set(its)] as const];
        }),
      ),
    );
  }
}
