import { contains, formatPrefix, parseAddress } from "@margay/net";
import { Netlink, type Notification } from "@margay/netlink";
import type { Inside } from "./inside.ts";
import { address4, call, end, margay, podNamespace } from "./plugin.ts";
import { type Result, summary } from "./result.ts";

const PATIENCE_MS = 5000;

/**
 * From the start of an ADD that has to claim a block (the lab's blocks hold one address) to the route to it in the remote
 * node's kernel: allocation, datastore, bgpd, BGP session, the other bgpd, netlink.
 */
export async function addToRemoteRoute({ relay, quick, say }: Inside): Promise<Result[]> {
  const arrived: {
    readonly route: Extract<Notification, { kind: "route" }>["route"];
    readonly at: number;
  }[] = [];
  const remote = Netlink.open({
    namespace: "/run/netns/n2",
    groups: ["route4"],
    onNotification: (notification) => {
      if (notification.kind !== "route" || notification.change !== "new") return;
      arrived.push({ route: notification.route, at: performance.now() });
    },
  });
  const n = quick ? 10 : 100;
  const times: number[] = [];
  const pods = [];
  try {
    for (let i = 0; i < n; i++) {
      const pod = podNamespace(`route-${i}`);
      pods.push(pod);
      const started = performance.now();
      arrived.length = 0;
      const address = parseAddress(address4((await call(margay(relay, "n1"), pod, "ADD")).result));
      const found = () => arrived.find(({ route }) => route.dst.length >= 24 && contains(route.dst, address));
      while (!found()) {
        if (performance.now() > started + PATIENCE_MS)
          throw new Error(`no route on n2 after ${PATIENCE_MS} ms`);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      times.push((found()?.at ?? Number.NaN) - started);
      if (i % 10 === 0) say(`${i} of ${n} routes, last ${formatPrefix(found()!.route.dst)}`); // found above
    }
  } finally {
    remote.close();
    for (const pod of pods) await end(margay(relay, "n1"), pod);
  }
  const target = { of: "p99", atMost: 50 } as const;
  return [{ benchmark: "add-to-remote-route", subject: "margay", unit: "ms", ...summary(times), target }];
}
