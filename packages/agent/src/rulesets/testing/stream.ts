import { createSocket, type Socket } from "node:dgram";
import { connect, createServer, isIPv6 } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { PORTS } from "./ports.ts";

/**
 * Runs inside a pod's network namespace. `stream.ts answer`: echoes UDP on ports 80 and 81 and TCP on 82. `stream.ts ask <address>
 * <ms>`: sends a packet to each UDP port so often, every one from a port never used before (an old one's connection tracking
 * would let it through), and a byte over one TCP connection; at the end of standard input tells as JSON what was answered.
 */
export interface Streamed {
  /** UDP to ports 80 and 81. */
  readonly allowed: Count;
  readonly denied: Count;
  /** Bytes of the one TCP connection. */
  readonly established: Count;
}

export interface Count {
  readonly sent: number;
  readonly answered: number;
  /** When those without an answer were sent, in ms since the start; the first few. */
  readonly lostAt: readonly number[];
}

/** An answer is not waited for longer: on a busy machine one side or the other may get no processor for seconds. */
const PATIENCE_MS = 10_000;
const LISTED = 10;
/** Bytes, of which the kernel gives what it may: who gets no processor for a second must lose nothing. */
const AT_MOST = 2 ** 20;

function answer(): void {
  for (const port of [PORTS.allowed, PORTS.denied]) {
    const socket = createSocket({ type: "udp6", recvBufferSize: AT_MOST }); // of both families
    socket.on("message", (bytes, { port: from, address }) => socket.send(bytes, from, address));
    socket.bind(port);
  }
  const echo = createServer((socket) => {
    socket.on("error", () => undefined); // the other side ends it as it likes
    socket.pipe(socket);
  });
  echo.listen(PORTS.established, () => process.stdout.write("ready\n"));
  process.stdin.on("end", () => process.exit()).resume();
}

/** Probes of one port. */
class Probes {
  readonly #to: string;
  readonly #port: number;
  readonly #open = new Map<Socket, number>();
  sent = 0;
  answered = 0;

  constructor(to: string, port: number) {
    this.#to = to;
    this.#port = port;
  }

  send(): void {
    const socket = createSocket(isIPv6(this.#to) ? "udp6" : "udp4");
    this.#open.set(socket, performance.now());
    this.sent++;
    const end = () => {
      clearTimeout(timer);
      socket.close();
    };
    const timer = setTimeout(end, PATIENCE_MS);
    socket.on("error", () => undefined); // a refusal is no answer
    socket.on("message", () => {
      this.answered++;
      this.#open.delete(socket);
      end();
    });
    socket.send("?", this.#port, this.#to);
  }

  count(): Count {
    const lostAt = [...this.#open.values()].slice(0, LISTED).map(Math.round);
    return { sent: this.sent, answered: this.answered, lostAt };
  }
}

async function ask(to: string, everyMs: number): Promise<void> {
  const [allowed, denied] = [new Probes(to, PORTS.allowed), new Probes(to, PORTS.denied)];
  const bytes = { sent: 0, answered: 0 };
  const connection = connect({ host: to, port: PORTS.established });
  await new Promise((resolve, reject) => connection.once("connect", resolve).once("error", reject));
  connection.on("data", (chunk) => (bytes.answered += chunk.length));
  connection.on("error", () => undefined); // then the bytes do not come back
  process.stdout.write("ready\n");
  const timer = setInterval(() => {
    allowed.send();
    denied.send();
    connection.write("!");
    bytes.sent++;
  }, everyMs);
  await new Promise((resolve) => process.stdin.on("end", resolve).resume());
  clearInterval(timer);
  const isAnswered = () => allowed.answered === allowed.sent && bytes.answered === bytes.sent;
  await sleep(500); // for what is denied, and comes all the same
  for (const end = performance.now() + PATIENCE_MS; !isAnswered() && performance.now() < end; )
    await sleep(20);
  const result: Streamed = {
    ...{ allowed: allowed.count(), denied: denied.count() },
    established: { ...bytes, lostAt: [] },
  };
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit());
}

const [, , role, to = "", everyMs = "10"] = process.argv;
if (role === "answer") answer();
else await ask(to, Number(everyMs));
