import { createSocket } from "node:dgram";
import { createInterface } from "node:readline";
import { query } from "./wire.ts";

/**
 * Run in a pod's network namespace: for each line of standard input it asks a DNS server, if told to, and with the answer, in the same turn, sends one
 * datagram somewhere. One line back: whether each was answered. Nothing is sent twice, but a question where the task says how often.
 */
export interface Task {
  readonly id: number;
  readonly ask?: { readonly server: string; readonly domain: string };
  readonly to?: string;
  /** A question that nobody answered is asked again then. */
  readonly againMs?: number;
  readonly patienceMs: number;
}

export interface Done {
  readonly id: number;
  readonly answered: boolean;
  readonly reached: boolean;
}

const TICK_MS = 100;

interface Exchange {
  readonly to: string;
  readonly port: number;
  readonly patienceMs: number;
  readonly againMs?: number | undefined;
}

/** Whether an answer comes in so much of the time that this process gets. */
function exchange(
  message: Uint8Array,
  { to, port, patienceMs, againMs = Number.POSITIVE_INFINITY }: Exchange,
): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = createSocket(to.includes(":") ? "udp6" : "udp4");
  let ticks = 0;
  const timer = setInterval(() => {
    if (++ticks * TICK_MS > patienceMs) resolve(false);
    else if ((ticks * TICK_MS) % againMs === 0) socket.send(message, port, to);
  }, TICK_MS);
  socket.on("message", () => resolve(true));
  socket.on("error", () => resolve(false));
  socket.send(message, port, to);
  return promise.finally(() => {
    clearInterval(timer);
    socket.close();
  });
}

async function carryOut({ id, ask, to, againMs, patienceMs }: Task): Promise<Done> {
  const family = (to ?? ask?.server)?.includes(":") ? 6 : 4;
  const answered =
    ask !== undefined &&
    (await exchange(query({ domain: ask.domain, family }, id), {
      ...{ to: ask.server, port: 53, patienceMs: againMs ? 60_000 : 10_000, againMs },
    }));
  const reached = to !== undefined && (await exchange(new Uint8Array(1), { to, port: 80, patienceMs }));
  return { id, answered, reached };
}

process.stdout.write("ready\n");
for await (const line of createInterface({ input: process.stdin }))
  void carryOut(JSON.parse(line) as Task).then((done) => process.stdout.write(`${JSON.stringify(done)}\n`));
process.exit(0);
