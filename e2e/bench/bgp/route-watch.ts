import { formatPrefix, type Prefix } from "@margay/net";
import { Netlink } from "@margay/netlink";

export const ourMark = 143;

/** What the kernel says of our routes. */
export class RouteWatch {
  readonly #waiting = new Map<string, (at: number) => void>();
  readonly #nl = Netlink.open({
    groups: ["route4"],
    onNotification: (n) => {
      if (n.kind !== "route" || n.route.protocol !== ourMark) return;
      const key = `${n.change} ${formatPrefix(n.route.dst)}`;
      this.#waiting.get(key)?.(performance.now());
      this.#waiting.delete(key);
    },
  });

  /** When it happens; to be asked for before. */
  next(change: "new" | "deleted", prefix: Prefix): Promise<number> {
    const { promise, resolve } = Promise.withResolvers<number>();
    this.#waiting.set(`${change} ${formatPrefix(prefix)}`, resolve);
    return promise;
  }

  close(): void {
    this.#nl.close();
  }
}
