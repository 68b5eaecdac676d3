import type { Packet } from "@margay/calc";
import type { IpSet, Rule } from "@margay/iptables";
import { contains, type Family, formatAddress, parsePrefix } from "@margay/net";
import type { Rendered } from "../index.ts";

/**
 * A second opinion for tests: walks rendered chains as the kernel does. It knows the words that our rules use and
 * throws on any other, on a jump to a chain that is not there, and on a set that is not there.
 */
export interface Walked extends Packet {
  readonly inInterface: string | undefined;
  readonly outInterface: string | undefined;
  readonly mac?: string;
  readonly ctstate?: string;
  /** The mark of its connection. */
  readonly connmark?: number;
  /** What the routing table says about the way back: that it is by the same interface; that there is one. */
  readonly isReversePath?: boolean;
  readonly isRouted?: boolean;
}

export interface Walk {
  /** `undefined`: our rules let it go on to those of others. */
  readonly target: "ACCEPT" | "DROP" | "REJECT" | "MASQUERADE" | "SNAT" | undefined;
  /** Ids of the rules that matched, in order. */
  readonly ids: readonly string[];
  /** How many rules were compared with the packet. */
  readonly asked: number;
}

type End = Exclude<Walk["target"], undefined>;
const ENDS: readonly string[] = ["ACCEPT", "DROP", "REJECT", "MASQUERADE", "SNAT"] satisfies End[];

/** Sends a packet through the rules of one builtin chain, such as `filter/FORWARD`. */
export function walk(rendered: Rendered, hook: string, packet: Walked): Walk {
  const family = packet.source.family;
  const walker = new Walker(rendered, packet, hook.split("/")[0] ?? "");
  const at = (family === 4 ? rendered.hooks4 : rendered.hooks6).get(hook);
  const target = walker.run([...(at?.rules ?? []), ...(at?.append ?? [])]);
  return { target: target === "RETURN" ? undefined : target, ids: walker.ids, asked: walker.asked };
}

/** Through several builtin chains on its way, with the marks that it gets; an ACCEPT ends its own chain only. */
export function walkHooks(rendered: Rendered, hooks: readonly string[], packet: Walked): Walk {
  const at = packet.source.family === 4 ? rendered.hooks4 : rendered.hooks6;
  const ids: string[] = [];
  let [mark, asked] = [0x30000, 0]; // whoever sent it may have set our bits
  for (const hook of hooks) {
    const walker = new Walker(rendered, packet, hook.split("/")[0] ?? "");
    walker.mark = mark;
    const target = walker.run([...(at.get(hook)?.rules ?? []), ...(at.get(hook)?.append ?? [])]);
    ids.push(...walker.ids);
    [mark, asked] = [walker.mark, asked + walker.asked];
    if (target === "DROP" || target === "REJECT") return { target, ids, asked };
  }
  return { target: "ACCEPT", ids, asked };
}

class Walker {
  readonly ids: string[] = [];
  asked = 0;
  readonly #rendered: Rendered;
  readonly #packet: Walked;
  readonly #table: string;
  mark = 0;

  constructor(rendered: Rendered, packet: Walked, table: string) {
    this.#rendered = rendered;
    this.#packet = packet;
    this.#table = table;
  }

  /** The verdict, or undefined when the end of the chain is reached. */
  run(rules: readonly Rule[]): End | "RETURN" | undefined {
    for (const rule of rules) {
      this.asked++;
      if (!new Matcher(this.#rendered.ipsets, this.#packet, this.mark).matches(rule.match)) continue;
      if (rule.id !== undefined) this.ids.push(rule.id);
      const [how, target = "", ...options] = rule.target;
      if (ENDS.includes(target)) return target as End;
      if (target === "RETURN") return undefined;
      if (target === "LOG" || target === "CT") continue;
      if (target === "MARK") {
        this.#setMark(options);
        continue;
      }
      const end = this.run(this.#chain(target));
      if (end !== undefined || how === "-g") return end;
    }
    return undefined;
  }

  #setMark([option, text = ""]: readonly string[]): void {
    if (option !== "--set-xmark") throw new Error(`MARK ${option}`);
    const [value = 0, mask = 0] = text.split("/").map(Number);
    this.mark = ((this.mark & ~mask) ^ value) >>> 0;
  }

  #chain(name: string): readonly Rule[] {
    const chains = this.#packet.source.family === 4 ? this.#rendered.chains4 : this.#rendered.chains6;
    const chain = chains.get(`${this.#table}/${name}`);
    if (!chain) throw new Error(`no chain ${this.#table}/${name}`);
    return chain.rules;
  }
}

const PROTOCOLS: Readonly<Record<string, number>> = {
  icmp: 1,
  tcp: 6,
  udp: 17,
  "ipv6-icmp": 58,
  sctp: 132,
  udplite: 136,
};

class Matcher {
  readonly #sets: ReadonlyMap<string, IpSet>;
  readonly #packet: Walked;
  readonly #mark: number;

  constructor(sets: ReadonlyMap<string, IpSet>, packet: Walked, mark: number) {
    this.#sets = sets;
    this.#packet = packet;
    this.#mark = mark;
  }

  matches(words: readonly string[]): boolean {
    const queue = [...words];
    let result = true;
    while (queue.length > 0) {
      if (queue[0] === "-m") {
        queue.splice(0, 2);
        continue;
      }
      const isNot = queue[0] === "!";
      if (isNot) queue.shift();
      const word = queue.shift() ?? "";
      const matched = ["--validmark", "--loose"].includes(word) || this.#one(word, queue, words);
      if (matched === isNot) result = false;
    }
    return result;
  }

  #one(word: string, rest: string[], words: readonly string[]): boolean {
    const p = this.#packet;
    if (word === "--invert") return !((words.includes("--loose") ? p.isRouted : p.isReversePath) ?? true);
    const value = rest.shift() ?? "";
    if (word.endsWith("ports") && !words.includes("-p"))
      throw new Error(`multiport without -p: ${words.join(" ")}`);
    switch (word) {
      case "-i":
        return isInterface(value, p.inInterface);
      case "-o":
        return isInterface(value, p.outInterface);
      case "-s":
        return contains(parsePrefix(value), p.source);
      case "-d":
        return contains(parsePrefix(value), p.destination);
      case "-p":
        return (PROTOCOLS[value] ?? Number(value)) === p.protocol;
      case "--ctstate":
        return value.split(",").includes(p.ctstate ?? "NEW");
      case "--mac-source":
        return value === p.mac;
      case "--mark": {
        const [mark, mask = 0] = value.split("/").map(Number);
        const actual = words.includes("connmark") ? (p.connmark ?? 0) : this.#mark;
        return (actual & mask) >>> 0 === mark;
      }
      case "--limit":
      case "--limit-burst":
        return true; // few packets are walked
      case "--sport":
      case "--sports":
        return inList(value, p.sourcePort);
      case "--dport":
      case "--dports":
        return inList(value, p.destinationPort);
      case "--icmp-type":
      case "--icmpv6-type": {
        const [type, code] = value.split("/").map(Number);
        return p.icmp?.type === type && (code === undefined || p.icmp?.code === code);
      }
      case "--match-set":
        return this.#inSet(value, rest.shift() ?? "");
      default:
        throw new Error(`unknown word ${word} in ${words.join(" ")}`);
    }
  }

  #inSet(name: string, directions: string): boolean {
    const set = this.#sets.get(name);
    const { source, destination, protocol, sourcePort, destinationPort } = this.#packet;
    if (!set) throw new Error(`no set ${name}`);
    const [address, port] = directions.startsWith("src")
      ? [source, sourcePort]
      : [destination, destinationPort];
    const family: Family = address.family;
    if (set.family !== family) throw new Error(`set ${name} in a rule of IPv${family}`);
    const isTwo = directions.includes(",");
    if (isTwo !== (set.type === "hash:ip,port")) throw new Error(`${directions} does not suit ${set.type}`);
    if (set.members.has("0.0.0.0/0") || set.members.has("::/0"))
      throw new Error(`the kernel refuses /0 in ${name}`);
    if (!isTwo) return [...set.members].some((member) => contains(parsePrefix(member), address));
    const word = Object.keys(PROTOCOLS).find((text) => PROTOCOLS[text] === protocol);
    return set.members.has(`${formatAddress(address)},${word}:${port}`);
  }
}

function isInterface(pattern: string, name: string | undefined): boolean {
  if (name === undefined) return false;
  return pattern.endsWith("+") ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

function inList(list: string, port: number | undefined): boolean {
  const ranges = list.split(",").map((text) => text.split(":").map(Number));
  const slots = ranges.reduce((sum, range) => sum + range.length, 0);
  if (slots > 15) throw new Error(`multiport with ${slots} ports`);
  return port !== undefined && ranges.some(([first = 0, last = first]) => port >= first && port <= last);
}
