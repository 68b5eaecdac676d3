import { connect } from "node:net";

/**
 * Runs inside a pod's network namespace: `connector.ts <address> <port> <count>`: opens that many connections one after the other, then for
 * a while as many as it can, and tells as JSON how long they took.
 */
export interface Connected {
  /** µs from asking for each connection until it was there. */
  readonly micros: readonly number[];
  /** µs that this process kept a processor busy in the kernel, for each of them: the rules are asked there. */
  readonly systemMicros: number;
  readonly perSecond: number;
}

const AT_ONCE = 16;
const RUSH_MS = 1500;

const [, , host = "", port = "", count = "1000"] = process.argv;

function open(): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = connect({ host, port: Number(port), noDelay: true });
  socket.once("error", reject);
  socket.once("connect", () => {
    resolve();
    socket.resetAndDestroy(); // leaves no port in TIME_WAIT
  });
  return promise;
}

async function oneByOne(amount: number): Promise<number[]> {
  const micros: number[] = [];
  for (let n = 0; n < amount; n++) {
    const startedAt = performance.now();
    await open();
    micros.push((performance.now() - startedAt) * 1000);
  }
  return micros;
}

async function rush(): Promise<number> {
  const startedAt = performance.now();
  let opened = 0;
  const some = async () => {
    while (performance.now() - startedAt < RUSH_MS) {
      await open();
      opened++;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, some));
  return (opened * 1000) / (performance.now() - startedAt);
}

await oneByOne(200); // warm
const before = process.cpuUsage();
const micros = await oneByOne(Number(count));
const systemMicros = process.cpuUsage(before).system / micros.length;
const result: Connected = { micros, systemMicros, perSecond: await rush() };
process.stdout.write(`${JSON.stringify(result)}\n`);
