import { createSocket } from "node:dgram";
import { createServer, connect as tcpConnect } from "node:net";
import { createInterface } from "node:readline";

/**
 * Runs inside a pod's network namespace: answers on some ports, and tries what it is told on standard input, one JSON
 * line each; one JSON line back.
 */
export interface Probe {
  readonly id: number;
  readonly protocol: "tcp" | "udp";
  readonly from: string;
  /** Never used twice: an old flow's connection tracking would let it through. */
  readonly sourcePort: number;
  readonly to: string;
  readonly port: number;
  /** How long an answer is waited for, of the time that this process gets. */
  readonly patienceMs: number;
}

export interface Probed {
  readonly id: number;
  readonly verdict: "allow" | "deny";
}

const TICK_MS = 100;

/** Calls `none` when `ms` are over, told by short ticks: one is late on a busy machine, and what has come meanwhile is looked at after each. */
function patience(ms: number, none: () => void): { end(): void } {
  let left = ms / TICK_MS;
  const timer = setInterval(() => {
    if (left-- <= 0) none();
  }, TICK_MS);
  return { end: () => clearInterval(timer) };
}

/** Whether the other side answered in time; refusals by the network itself are errors and say so. */
function tryTcp({ from, sourcePort, to, port, patienceMs }: Probe): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = tcpConnect({ host: to, port, localAddress: from, localPort: sourcePort });
  const waiting = patience(patienceMs, () => resolve(false));
  socket.on("connect", () => resolve(true));
  socket.on("error", () => resolve(false));
  return promise.finally(() => {
    waiting.end();
    socket.destroy();
  });
}

function tryUdp({ from, sourcePort, to, port, patienceMs }: Probe): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = createSocket(to.includes(":") ? "udp6" : "udp4");
  const waiting = patience(patienceMs, () => resolve(false));
  socket.on("message", () => resolve(true));
  socket.on("error", () => resolve(false));
  socket.bind(sourcePort, from, () => socket.send("?", port, to));
  return promise.finally(() => {
    waiting.end();
    socket.close();
  });
}

async function listen(port: number): Promise<void> {
  const tcp = createServer((socket) => socket.on("error", () => socket.destroy()).resume());
  const udp = createSocket({ type: "udp6", ipv6Only: false, recvBufferSize: 2 ** 20 });
  udp.on("message", (message, peer) => udp.send(message, peer.port, peer.address));
  await Promise.all([
    new Promise<void>((done) => tcp.listen(port, "::", done)),
    new Promise<void>((done) => udp.bind(port, "::", done)),
  ]);
}

await Promise.all(process.argv.slice(2).map((port) => listen(Number(port))));
process.stdout.write("ready\n");
for await (const line of createInterface({ input: process.stdin })) {
  const probe = JSON.parse(line) as Probe;
  const answered = probe.protocol === "tcp" ? tryTcp(probe) : tryUdp(probe);
  void answered.then((yes) =>
    process.stdout.write(
      `${JSON.stringify({ id: probe.id, verdict: yes ? "allow" : "deny" } satisfies Probed)}\n`,
    ),
  );
}
process.exit(0);
