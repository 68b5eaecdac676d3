import { createSocket } from "node:dgram";
import { createServer, type Server, Socket } from "node:net";
import { type Family, parseAddress } from "@margay/net";
import { socketIn } from "@margay/netlink";

/** Who can be probed from and to. */
export interface Party {
  /** "shop/web-1". */
  readonly name: string;
  readonly namespacePath: string;
  /** Without prefix length. */
  readonly addresses: readonly string[];
}

export type Protocol = "tcp" | "udp";

export interface Question {
  readonly family: Family;
  readonly protocol: Protocol;
  readonly port: number;
}

/** "reached" only when the very pod asked for has answered. */
export type Answer = "reached" | "timeout" | "refused" | "unreachable" | "wrong pod" | "no address";

const familyOf = (address: string): Family => (address.includes(":") ? 6 : 4);
const ANY = { 4: parseAddress("0.0.0.0"), 6: parseAddress("::") } as const;
/** One SYN is repeated by the kernel after 1 s: a lost first packet alone does not make a "timeout". */
const PATIENCE_MS = 1500;
const UDP_REPEAT_MS = 400;
const AT_ONCE = 200;
/** Turns of the event loop that question and answer take when both ends are in this process, and some more. */
const TURNS = 16;

/** Answers with the pod's name on its TCP and UDP ports, both families, from inside its namespace. */
export class Responder {
  readonly #close: (() => void)[] = [];

  /** Resolves when all ports are open. Errors are those of listening. */
  static async open(party: Party, ports: readonly number[]): Promise<Responder> {
    const responder = new Responder();
    const families = [...new Set(party.addresses.map(familyOf))];
    const open = families.flatMap((family) =>
      ports.flatMap((port) => [responder.#tcp(party, family, port), responder.#udp(party, family, port)]),
    );
    await Promise.all(open);
    return responder;
  }

  close(): void {
    for (const close of this.#close) close();
  }

  #tcp({ name, namespacePath }: Party, family: Family, port: number): Promise<void> {
    const fd = socketIn(namespacePath, {
      family,
      type: "stream",
      options: { reuse: true, bind: { address: ANY[family], port } },
    });
    const server: Server = createServer((socket) => {
      socket.on("error", () => {}); // a prober that went away
      socket.end(name);
    });
    this.#close.push(() => server.close());
    return new Promise((resolve, reject) => server.once("error", reject).listen({ fd }, resolve));
  }

  #udp({ name, namespacePath }: Party, family: Family, port: number): Promise<void> {
    const fd = socketIn(namespacePath, {
      family,
      type: "datagram",
      options: { bind: { address: ANY[family], port } },
    });
    const socket = createSocket(family === 4 ? "udp4" : "udp6");
    socket.on("message", (_, from) => socket.send(name, from.port, from.address, () => {}));
    this.#close.push(() => socket.close());
    return new Promise((resolve, reject) => socket.once("error", reject).bind({ fd }, resolve));
  }
}

const FIRST_PORT = 10_000;
const LAST_PORT = 60_000;

/** Asks with real connections; a source port is not used twice, so that no old conntrack entry answers for a new rule. */
export class Prober {
  readonly #nextPort = new Map<string, number>();

  /** Never rejects for a network's answer. */
  ask(from: Party, to: Party, question: Question): Promise<Answer> {
    const address = to.addresses.find((text) => familyOf(text) === question.family);
    if (!address) return Promise.resolve("no address");
    const type = question.protocol === "tcp" ? "stream" : "datagram";
    const bind = { address: ANY[question.family], port: this.#port(from.name) };
    const fd = socketIn(from.namespacePath, { family: question.family, type, options: { bind } });
    const target = { fd, address, port: question.port, name: to.name };
    return question.protocol === "tcp" ? askTcp(target) : askUdp(target, question.family);
  }

  #port(name: string): number {
    const port = this.#nextPort.get(name) ?? FIRST_PORT;
    this.#nextPort.set(name, port === LAST_PORT ? FIRST_PORT : port + 1);
    return port;
  }
}

interface Target {
  readonly fd: number;
  readonly address: string;
  readonly port: number;
  readonly name: string;
}

function askTcp({ fd, address, port, name }: Target): Promise<Answer> {
  const socket = new Socket({ fd });
  let heard = "";
  return new Promise<Answer>((resolve) => {
    socket.setEncoding("utf8").on("data", (chunk) => (heard += chunk));
    socket.once("end", () => resolve(heard === name ? "reached" : "wrong pod"));
    socket.once("error", (error) => resolve(meaning(error)));
    afterPatience(() => resolve("timeout"));
    socket.connect({ host: address, port });
  }).finally(() => socket.destroy());
}

function askUdp({ fd, address, port, name }: Target, family: Family): Promise<Answer> {
  const socket = createSocket(family === 4 ? "udp4" : "udp6");
  let repeat: NodeJS.Timeout | undefined;
  return new Promise<Answer>((resolve) => {
    const send = () => socket.send("?", port, address, (error) => error && resolve(meaning(error)));
    socket.once("message", (message) => resolve(message.toString() === name ? "reached" : "wrong pod"));
    socket.once("error", (error) => resolve(meaning(error)));
    afterPatience(() => resolve("timeout"));
    repeat = setInterval(send, UDP_REPEAT_MS);
    socket.bind({ fd }, send);
  }).finally(() => {
    clearInterval(repeat);
    socket.close();
  });
}

/** What lies in the sockets by then is heard first: a machine that stood still meanwhile has refused nothing. */
function afterPatience(act: () => void): void {
  const turn = (left: number) => (left === 0 ? act() : setImmediate(turn, left - 1));
  setTimeout(turn, PATIENCE_MS, TURNS).unref();
}

function meaning(error: NodeJS.ErrnoException): Answer {
  return error.code === "ECONNREFUSED" || error.code === "ECONNRESET" ? "refused" : "unreachable";
}

/** All of `pairs`, at most 200 under way at once, answers in the order asked. */
export async function askAll(
  prober: Prober,
  pairs: readonly (readonly [Party, Party, Question])[],
): Promise<Answer[]> {
  const answers: Answer[] = new Array(pairs.length);
  let next = 0;
  const worker = async () => {
    while (next < pairs.length) {
      const index = next++;
      const [from, to, question] = pairs[index]!; // index < length
      answers[index] = await prober.ask(from, to, question);
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, pairs.length) }, worker));
  return answers;
}
