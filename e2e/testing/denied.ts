import type { ChildProcess } from "node:child_process";
import { eventually, exitOf, type TestLab } from "./lab.ts";

/** Both programs end with their standard input. */
const UNTIL_END = 'process.stdin.resume().on("end", () => process.exit());';

/** Prints each datagram of both families that comes to a port. */
const LISTEN = `const socket = require("node:dgram").createSocket("udp6");
socket.on("message", (text) => console.log(String(text))).bind(Number(process.argv[1]), () => console.log("listening"));
${UNTIL_END}`;

/** Sends a word to a port of each address, again and again, every so many ms; or once, where that is 0. */
const SEND = `${UNTIL_END}
const [word, port, everyMs, ...addresses] = process.argv.slice(1);
const { createSocket } = require("node:dgram");
const sockets = addresses.map((to) => [createSocket(to.includes(":") ? "udp6" : "udp4").on("error", () => {}), to]);
const send = () => { for (const [socket, to] of sockets) socket.send(word, Number(port), to, () => {}); };
send();
if (everyMs !== "0") setInterval(send, Number(everyMs));
else setTimeout(() => process.exit(), 100);`;

/** A stream of datagrams between two pods that no rule allows, IPv4 and IPv6, one each every 5 ms: a gap in the rules lets some through. */
export class Denied {
  readonly #lab: TestLab;
  readonly #to: readonly string[];
  readonly #port: number;
  readonly #processes: readonly ChildProcess[];
  #heard: string[] = [];

  private constructor(
    lab: TestLab,
    { to, port, from, at }: { to: readonly string[]; port: number; from: string; at: string },
  ) {
    this.#lab = lab;
    this.#to = to;
    this.#port = port;
    const listener = lab.spawn(at, [process.execPath, "-e", LISTEN, `${port}`]);
    let text = "";
    listener.stdout?.setEncoding("utf8").on("data", (chunk) => {
      text += chunk;
      this.#heard = text.split("\n").filter(Boolean);
    });
    this.#processes = [listener, lab.spawn(from, this.#sender("denied", 5))];
  }

  /** Resolves when somebody listens. */
  static async open(
    lab: TestLab,
    { from, to, port }: { from: string; to: string; port: number },
  ): Promise<Denied> {
    const pod = (await lab.pods()).find(({ namespace, name }) => `${namespace}/${name}` === to);
    const addresses = (pod?.addresses ?? []).map((address) => address.replace(/\/.*/, ""));
    const denied = new Denied(lab, { to: addresses, port, from, at: to });
    await eventually(`${to} listens`, async () => denied.#heard.includes("listening"));
    return denied;
  }

  /** Ends it. @returns all that arrived, once what `allowed` sends has: that shows that anything would have. */
  async close(allowed: string): Promise<readonly string[]> {
    await this.#lab.exec(allowed, this.#sender("allowed", 0));
    await eventually(
      "what is allowed arrives",
      async () => this.#heard.filter((word) => word === "allowed").length >= 2,
    );
    const gone = this.#processes.map(exitOf);
    for (const process of this.#processes) process.stdin?.end();
    await Promise.all(gone);
    return this.#heard.slice(1);
  }

  #sender(word: string, everyMs: number): string[] {
    return [process.execPath, "-e", SEND, word, `${this.#port}`, `${everyMs}`, ...this.#to];
  }
}
