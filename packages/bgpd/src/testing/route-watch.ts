import { formatPrefix } from "@margay/net";
import { Netlink } from "@margay/netlink";
import { bgpProtocol } from "../kernel-routes.ts";
import { ownMs } from "./own-ms.ts";

/** What happened to one of our kernel routes, as the kernel told it; `at` in milliseconds of `ownMs`. */
export interface RouteEvent {
  readonly change: "new" | "deleted";
  readonly dst: string;
  readonly at: number;
}

/** Every change of our kernel routes since it was opened: also those too short for somebody who looks now and then. */
export class RouteWatch {
  readonly events: RouteEvent[] = [];
  readonly #nl = Netlink.open({
    groups: ["route4", "route6"],
    onNotification: (n) => {
      if (n.kind !== "route" || n.route.protocol !== bgpProtocol) return;
      this.events.push({ change: n.change, dst: formatPrefix(n.route.dst), at: ownMs() });
    },
  });

  /** Destinations whose route went away, even if it came back. */
  get lost(): string[] {
    return this.events.filter((e) => e.change === "deleted").map((e) => e.dst);
  }

  close(): void {
    this.#nl.close();
  }
}
