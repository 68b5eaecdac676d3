import { createSocket } from "node:dgram";
import { connect, createServer, isIPv6 } from "node:net";
import { createInterface } from "node:readline";

/**
 * Runs in a pod. `many-flows.ts answer <ports>` echoes TCP and UDP. `many-flows.ts ask <ports> <addresses>` keeps one connection of each
 * protocol to each port of each address, sends something by each every EVERY_MS, and for each line on standard input prints as JSON
 * how often each was answered: by "<address> <protocol> <port>".
 */
const EVERY_MS = 50;

function answer(ports: readonly number[]): void {
  for (const port of ports) {
    const socket = createSocket("udp6"); // of both families
    socket.on("message", (bytes, { port: from, address }) => socket.send(bytes, from, address));
    socket.bind(port);
    createServer((client) => client.on("error", () => undefined).pipe(client)).listen(port);
  }
}

function ask(ports: readonly number[], addresses: readonly string[]): void {
  const answered: Record<string, number> = {};
  for (const host of addresses)
    for (const port of ports) {
      const count = (protocol: string) => () => {
        const key = `${host} ${protocol} ${port}`;
        answered[key] = (answered[key] ?? 0) + 1;
      };
      const tcp = connect({ host, port, noDelay: true }).on("error", () => undefined);
      tcp.on("data", count("tcp"));
      const udp = createSocket(isIPv6(host) ? "udp6" : "udp4").on("error", () => undefined);
      udp.on("message", count("udp"));
      setInterval(() => {
        if (tcp.writable) tcp.write("!");
        udp.send("!", port, host);
      }, EVERY_MS);
    }
  createInterface(process.stdin).on("line", () => process.stdout.write(`${JSON.stringify(answered)}\n`));
}

const [, , role, ports = "", ...addresses] = process.argv;
const numbers = ports.split(",").map(Number);
if (role === "answer") answer(numbers);
else ask(numbers, addresses);
process.stdin.on("end", () => process.exit());
