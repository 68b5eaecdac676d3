import { contains, type Family, formatAddress, parseAddress, parsePrefix } from "@margay/net";
import {
  type Action,
  type Chain,
  type Field,
  type Item,
  itemKey,
  type Match,
  type NftMap,
  type NftSet,
  type Rule,
} from "@margay/nftables";
import type { Walk, Walked } from "./walker.ts";

/**
 * As walker.ts, for nftables: walks the statements as the kernel does, and throws on a chain, set or map that is not there, and
 * on a port asked of a packet whose protocol no match before has settled.
 */
export function walkNftables(
  items: ReadonlyMap<string, Item>,
  hook: string,
  packet: Walked,
  groups: Groups = new Map(),
): Walk {
  const walker = new Walker(items, packet, groups);
  const target = walker.run(`filter-${hook}`);
  return { target: target === "return" ? undefined : target, ids: walker.ids, asked: walker.asked };
}

/** Hook after hook, as `walkHooks` does; the mark stays with the packet. */
export function walkNftablesHooks(
  items: ReadonlyMap<string, Item>,
  hooks: readonly string[],
  packet: Walked,
  groups: Groups = new Map(),
): Walk {
  const walker = new Walker(items, packet, groups);
  for (const hook of hooks) {
    const chain = hook.replace("/", "-");
    if (!items.has(itemKey(packet.source.family, "chain", chain))) continue;
    const target = walker.run(chain);
    if (target === "DROP" || target === "REJECT") return { target, ids: walker.ids, asked: walker.asked };
  }
  return { target: "ACCEPT", ids: walker.ids, asked: walker.asked };
}

/** Of interfaces, by name; 0 if absent. */
type Groups = ReadonlyMap<string, number>;

type End = Exclude<Walk["target"], undefined> | "return";

class Walker {
  readonly ids: string[] = [];
  asked = 0;
  readonly #items: ReadonlyMap<string, Item>;
  readonly #packet: Walked;
  readonly #family: Family;
  readonly #groups: Groups;
  #mark = 0;

  constructor(items: ReadonlyMap<string, Item>, packet: Walked, groups: Groups) {
    this.#items = items;
    this.#groups = groups;
    this.#packet = packet;
    this.#family = packet.source.family;
  }

  run(chain: string): End | undefined {
    for (const rule of this.#item<Chain>("chain", chain).rules) {
      this.asked++;
      if (!rule.match.every((match) => this.#matches(match, rule))) continue;
      if (rule.id !== undefined) this.ids.push(rule.id);
      const end = rule.action && this.#act(rule.action);
      if (end !== undefined) return end === "back" ? undefined : end;
    }
    return undefined;
  }

  /** `back`: the chain is at its end, and the caller goes on. */
  #act(action: Action): End | "back" | undefined {
    switch (action.do) {
      case "accept":
        return "ACCEPT";
      case "drop":
        return "DROP";
      case "reject":
      case "reject tcp":
        return "REJECT";
      case "return":
        return "back";
      case "jump":
        return this.run(action.chain);
      case "goto":
        return this.run(action.chain) ?? "back";
      case "vmap": {
        const key = this.#key(action.fields);
        const { members } = this.#item<NftMap>("map", action.map);
        const found = [...members].find((member) => member.startsWith(`${key} : `));
        return found === undefined
          ? undefined
          : this.#act({ do: "goto", chain: found.slice(`${key} : goto `.length) });
      }
      case "set mark":
        this.#mark = ((this.#mark & ~action.mask) ^ action.value) >>> 0;
        return undefined;
      case "log":
      case "notrack":
        return undefined;
      default:
        throw new Error(`the walker does not know ${action.do}`);
    }
  }

  #item<T extends Item>(kind: T["kind"], name: string): T {
    const item = this.#items.get(itemKey(this.#family, kind, name));
    if (item?.kind !== kind) throw new Error(`no ${kind} ${name}`);
    return item as T; // its kind was compared
  }

  #matches(match: Match, rule: Rule): boolean {
    return this.#holds(match, rule) !== (match.not ?? false);
  }

  #holds(match: Match, rule: Rule): boolean {
    const p = this.#packet;
    switch (match.match) {
      case "iifname":
      case "oifname": {
        const name = match.match === "iifname" ? p.inInterface : p.outInterface;
        const prefix = match.name.endsWith("*") ? match.name.slice(0, -1) : undefined;
        return prefix === undefined ? name === match.name : (name?.startsWith(prefix) ?? false);
      }
      case "iifgroup":
      case "oifgroup":
        return this.#groupOf(match.match === "iifgroup" ? p.inInterface : p.outInterface) === match.number;
      case "saddr":
        return contains(parsePrefix(match.net), p.source);
      case "daddr":
        return contains(parsePrefix(match.net), p.destination);
      case "protocol":
        return match.number === p.protocol;
      case "sport":
      case "dport": {
        settled(rule);
        const port = match.match === "sport" ? p.sourcePort : p.destinationPort;
        return port !== undefined && port >= match.first && port <= match.last;
      }
      case "icmp":
        return p.icmp?.type === match.type && (match.code === undefined || p.icmp.code === match.code);
      case "set":
        if (match.fields.length === 1 && match.fields[0]?.endsWith("port")) settled(rule);
        return this.#inSet(match.set, match.fields);
      case "ct state":
        return (match.states as readonly string[]).includes((p.ctstate ?? "NEW").toLowerCase());
      case "mark":
      case "ct mark":
        return ((match.match === "mark" ? this.#mark : (p.connmark ?? 0)) & match.mask) >>> 0 === match.value;
      case "limit":
        return true; // few packets are walked
      case "reverse path":
        return p.isReversePath ?? true;
      case "ether saddr":
        return match.mac === p.mac;
      default:
        throw new Error(`the walker does not know ${match.match}`);
    }
  }

  #key(fields: readonly Field[]): string {
    const { source, destination, protocol, sourcePort, destinationPort, inInterface, outInterface } =
      this.#packet;
    const values = {
      ...{ saddr: formatAddress(source), daddr: formatAddress(destination), protocol },
      ...{ sport: sourcePort, dport: destinationPort, iifname: inInterface, oifname: outInterface },
      ...{ iifgroup: this.#groupOf(inInterface), oifgroup: this.#groupOf(outInterface) },
      "ether saddr": this.#packet.mac,
    };
    return fields.map((field) => String(values[field])).join(" . ");
  }

  #groupOf(interfaceName: string | undefined): number {
    return this.#groups.get(interfaceName ?? "") ?? 0;
  }

  #inSet(name: string, fields: readonly Field[]): boolean {
    const { interval, members, family } = this.#item<NftSet>("set", name);
    if (family !== this.#family) throw new Error(`set ${name} in a rule of IPv${this.#family}`);
    const key = this.#key(fields);
    if (!interval) return members.has(key);
    const isPort = fields[0]?.endsWith("port");
    return [...members].some((member) =>
      isPort ? inRange(member, Number(key)) : contains(parsePrefix(member), parseAddress(key)),
    );
  }
}

function inRange(range: string, port: number): boolean {
  const [first = 0, last = first] = range.split("-").map(Number);
  return port >= first && port <= last;
}

/** The kernel reads a port from whatever follows the network header: without a protocol that is not a port. */
function settled({ match }: Rule): void {
  if (!match.some((one) => one.match === "protocol" && !one.not))
    throw new Error("a port without a protocol");
}
