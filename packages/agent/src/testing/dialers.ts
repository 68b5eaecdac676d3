import { createSocket, type Socket } from "node:dgram";
import { inNamespace } from "@margay/netlink";

/**
 * Sends a datagram from each network namespace under /run/netns whose name begins with `pod` to each address, every EVERY_MS,
 * until standard input ends; prints "ready" after the first round. Arguments: how many namespaces (pod0, pod1 ...), the addresses.
 * What cannot be sent yet, for there is no interface, is tried again in the next round.
 */
const EVERY_MS = 3;
const PORT = 9;

/** Both sockets of a namespace are made in one stretch: Node.js binds at once only when it need not look names up. */
const lookup = (host: string, _options: unknown, done: (error: null, host: string, family: number) => void) =>
  done(null, host, host.includes(":") ? 6 : 4);

function opened(type: "udp4" | "udp6"): Socket {
  const socket = createSocket({ type, lookup: lookup as never }); // of what a lookup is asked only this
  socket.on("error", () => {});
  socket.bind(0, type === "udp4" ? "0.0.0.0" : "::");
  return socket;
}

const [count, ...addresses] = process.argv.slice(2);
const sockets = Array.from({ length: Number(count) }, (_, i) =>
  inNamespace(`/run/netns/pod${i}`, () => ({ four: opened("udp4"), six: opened("udp6") })),
);

function round(): void {
  for (const { four, six } of sockets)
    for (const address of addresses) (address.includes(":") ? six : four).send("?", PORT, address, () => {});
}

round();
process.stdout.write("ready\n");
setInterval(round, EVERY_MS);
process.stdin.on("end", () => process.exit(0)).resume();
