import type { Rule as Words } from "@margay/iptables";
import type { Action, CtState, Field, Match, Ports, Rule } from "@margay/nftables";
import { chainName, type Names } from "./names.ts";

/** Words of a rule that have no translation: the renderer learned a word that this file did not. */
export class UnknownWordError extends Error {
  readonly code = "unknown-word";
  constructor(word: string, { match, target }: Words) {
    super(`no nftables statement for ${JSON.stringify(word)} in "${[...match, ...target].join(" ")}"`);
    this.name = "UnknownWordError";
  }
}

/** One rule of the renderer as statements: what iptables' words mean, no more. `names` says what its sets are called. */
export function translateRule(words: Words, table: string, names: Names): Rule {
  const match = new MatchReader(words, names).all();
  const action = actionOf(words, table);
  return { match, ...(action && { action }), ...(words.id !== undefined && { id: words.id }) };
}

const PROTOCOLS: Readonly<Record<string, number>> = {
  ...{ icmp: 1, tcp: 6, udp: 17, "ipv6-icmp": 58, icmpv6: 58, sctp: 132, udplite: 136 },
};

export const protocolNumber = (text: string): number => PROTOCOLS[text] ?? Number(text);

const SET_FIELDS: Readonly<Record<string, readonly Field[]>> = {
  ...{ src: ["saddr"], dst: ["daddr"] },
  ...{ "src,src": ["saddr", "protocol", "sport"], "dst,dst": ["daddr", "protocol", "dport"] },
  ...{ "interfaces src,src": ["saddr", "iifname"], "interfaces src,dst": ["saddr", "oifname"] },
  ...{ "interfaces dst,src": ["daddr", "iifname"], "macs src,src": ["saddr", "ether saddr"] },
};

/** Reads a rule's match words from left to right. */
class MatchReader {
  readonly #rule: Words;
  readonly #words: string[];
  readonly #names: Names;
  #module = "";
  #isNot = false;

  constructor(rule: Words, names: Names) {
    this.#rule = rule;
    this.#words = [...rule.match];
    this.#names = names;
  }

  all(): Match[] {
    const found: Match[] = [];
    while (this.#words.length > 0) {
      const one = this.#next(this.#take());
      if (one) found.push(this.#isNot ? { ...one, not: true } : one);
      if (one) this.#isNot = false;
    }
    return found;
  }

  #take(): string {
    return this.#words.shift() ?? "";
  }

  #next(word: string): Match | undefined {
    switch (word) {
      case "!":
        this.#isNot = true;
        return undefined;
      case "-m":
        this.#module = this.#take();
        return this.#module === "rpfilter" ? this.#reversePath() : undefined;
      case "-i":
      case "-o":
        return this.#interface(word === "-i" ? "iifname" : "oifname", this.#take());
      case "-s":
      case "-d":
        return { match: word === "-s" ? "saddr" : "daddr", net: this.#take() };
      case "-p":
        return { match: "protocol", number: protocolNumber(this.#take()) };
      case "--sports":
      case "--sport":
        return this.#ports("sport", this.#take());
      case "--dports":
      case "--dport":
        return this.#ports("dport", this.#take());
      case "--icmp-type":
      case "--icmpv6-type": {
        const [type = 0, code] = this.#take().split("/").map(Number);
        return { match: "icmp", type, code };
      }
      case "--match-set": {
        const [name, sides] = [this.#take(), this.#take()];
        const kind = this.#names.kindOf(name);
        const fields = SET_FIELDS[`${kind} ${sides}`] ?? SET_FIELDS[sides] ?? this.#refuse(word);
        return { match: "set", set: this.#names.setName(name), fields };
      }
      case "--src-group":
      case "--dst-group": {
        const match = word === "--src-group" ? "iifgroup" : "oifgroup";
        return { match, number: Number(this.#take()) };
      }
      case "--ctstate":
        return { match: "ct state", states: this.#take().toLowerCase().split(",") as CtState[] };
      case "--ctdir":
        return { match: "ct direction", direction: this.#take() === "REPLY" ? "reply" : "original" };
      case "--ctorigdstport":
        return { match: "ct original dport", port: Number(this.#take()) };
      case "--mark": {
        const [value, mask] = marks(this.#take());
        return { match: this.#module === "connmark" ? "ct mark" : "mark", value, mask };
      }
      case "--mac-source":
        return { match: "ether saddr", mac: this.#take().toLowerCase() };
      case "--src-type":
      case "--dst-type":
        return { match: word === "--src-type" ? "saddr type" : "daddr type", type: this.#addressType() };
      case "--connlimit-above":
        return this.#connections(Number(this.#take()));
      case "--limit":
        return this.#limit(this.#take());
      default:
        return this.#refuse(word);
    }
  }

  #refuse(word: string): never {
    throw new UnknownWordError(word, this.#rule);
  }

  /** `--loose --validmark --invert`; without `--invert` it holds where the way back is the right one. */
  #reversePath(): Match {
    const options = this.#words.splice(
      0,
      this.#words.findLastIndex((w) => /^--(loose|validmark|invert)$/.test(w)) + 1,
    );
    const other = options.find((option) => !/^--(loose|validmark|invert)$/.test(option));
    if (other !== undefined) this.#refuse(other);
    return {
      match: "reverse path",
      ...(options.includes("--loose") && { loose: true }),
      ...(options.includes("--invert") && { not: true }),
    };
  }

  /** Any interface is no match: the kernel takes none of no characters. */
  #interface(match: "iifname" | "oifname", pattern: string): Match | undefined {
    return pattern === "+" ? undefined : { match, name: pattern.replace(/\+$/, "*") };
  }

  /** A list of several ports is a set. */
  #ports(field: "sport" | "dport", list: string): Match {
    const [only] = list.split(",");
    if (list.includes(",")) return { match: "set", fields: [field], set: this.#names.portSet(list) };
    const [first = 0, last = first] = (only ?? "").split(":").map(Number);
    return { match: field, first, last };
  }

  #addressType(): "local" | "unicast" | "broadcast" {
    const type = this.#take().toLowerCase();
    return type === "local" || type === "unicast" || type === "broadcast" ? type : this.#refuse(type);
  }

  /** `--connlimit-mask 0`: all that come by the rule together. */
  #connections(count: number): Match {
    if (this.#take() !== "--connlimit-mask" || this.#take() !== "0") this.#refuse("--connlimit-above");
    return { match: "ct count over", count };
  }

  /** `--limit 10/sec --limit-burst 5`; iptables' own burst is 5. */
  #limit(text: string): Match {
    const [rate = "", unit = ""] = text.split("/");
    const per = (["second", "minute", "hour", "day"] as const).find((name) =>
      name.startsWith(unit.slice(0, 3)),
    );
    const hasBurst = this.#words[0] === "--limit-burst";
    if (hasBurst) this.#take();
    return {
      match: "limit",
      rate: Number(rate),
      per: per ?? this.#refuse(text),
      burst: hasBurst ? Number(this.#take()) : 5,
    };
  }
}

/** `0x10000/0x30000`: a value and a mask, which is all bits if not given. */
function marks(text: string): readonly [value: number, mask: number] {
  const [value = 0, mask = 0xffffffff] = text.split("/").map(Number);
  return [value, mask];
}

const ENDS: Readonly<Record<string, Action>> = {
  ...{ ACCEPT: { do: "accept" }, DROP: { do: "drop" }, RETURN: { do: "return" }, REJECT: { do: "reject" } },
  ...{ NOTRACK: { do: "notrack" } },
};

/** `-j TARGET options` or `-g chain`. */
function actionOf(rule: Words, table: string): Action | undefined {
  const [how, target = "", ...options] = rule.target;
  if (how === undefined) return undefined;
  const option = (name: string): string | undefined => {
    const at = options.indexOf(name);
    return at < 0 ? undefined : options[at + 1];
  };
  if (target === "REJECT" && option("--reject-with") === "tcp-reset") return { do: "reject tcp" };
  const end = how === "-j" && options.length === 0 ? ENDS[target] : undefined;
  if (end) return end;
  const random = options.includes("--random-fully");
  switch (target) {
    case "MARK":
    case "CONNMARK": {
      const [value, mask] = marks(option("--set-xmark") ?? option("--set-mark") ?? refuse(target, rule));
      return { do: target === "MARK" ? "set mark" : "set ct mark", value, mask };
    }
    case "DSCP":
      return { do: "set dscp", value: Number(option("--set-dscp") ?? refuse(target, rule)) };
    case "LOG":
      return { do: "log", prefix: option("--log-prefix") ?? "", level: Number(option("--log-level") ?? 4) };
    case "CT":
      return options.includes("--notrack") ? { do: "notrack" } : refuse(options.join(" "), rule);
    case "NFQUEUE":
      if (!options.includes("--queue-bypass")) return refuse(target, rule);
      return { do: "queue", number: Number(option("--queue-num") ?? refuse("--queue-num", rule)) };
    case "MASQUERADE":
      return { do: "masquerade", ports: portsOf(option("--to-ports")), random };
    case "SNAT":
      return { do: "snat", ...translated(option("--to-source") ?? ""), random };
    case "DNAT":
      return { do: "dnat", ...translated(option("--to-destination") ?? ""), random };
    default:
      if (options.length > 0 || target === target.toUpperCase()) return refuse(target, rule);
      return { do: how === "-g" ? "goto" : "jump", chain: chainName(table, target) };
  }
}

function refuse(word: string, rule: Words): never {
  throw new UnknownWordError(word, rule);
}

/** `192.0.2.1:1000-2000`; an IPv6 address with ports is in brackets. */
function translated(text: string): { readonly address: string; readonly ports: Ports | undefined } {
  const [, bracketed, ports6] = /^\[(.+)\](?::(.+))?$/.exec(text) ?? [];
  if (bracketed !== undefined) return { address: bracketed, ports: portsOf(ports6) };
  if (text.split(":").length > 2) return { address: text, ports: undefined };
  const [address = "", ports] = text.split(":");
  return { address, ports: portsOf(ports) };
}

function portsOf(text: string | undefined): Ports | undefined {
  if (text === undefined) return undefined;
  const [first = 0, last = first] = text.split("-").map(Number);
  return { first, last };
}
