import type { CompiledPolicy, CompiledRule, EntityMatch, IcmpMatch, PortRange } from "@margay/calc";
import type { Rule } from "@margay/iptables";
import { type Family, formatPrefix, type Prefix } from "@margay/net";
import type { RenderConfig } from "./config.ts";
import { logTarget } from "./log.ts";
import * as names from "./names.ts";
import type { SetRefs } from "./sets.ts";

export interface RuleContext {
  readonly family: Family;
  readonly config: RenderConfig;
  readonly sets: SetRefs;
  /** Whose rule it is. */
  readonly policy: Pick<CompiledPolicy, "id" | "tier">;
}

/**
 * One rule of the model as iptables rules: one for each way to match, as a rule can state only one list of ports and
 * one set of named ports. None where the rule cannot match packets of the family.
 */
export function renderRule(rule: CompiledRule, context: RuleContext): readonly Rule[] {
  const target = targetOf(rule, context);
  const limit = rule.action === "log" ? context.config.logLimit : [];
  return waysToMatch(rule, context).map((match) => ({ match: [...match, ...limit], target, id: rule.id }));
}

/**
 * Allow and Pass go to a chain that sets their mark; as that is a goto, the packet comes back behind the jump to the
 * policy and no further rule of it is asked.
 */
function targetOf({ action }: CompiledRule, { config, policy }: RuleContext): readonly string[] {
  switch (action) {
    case "allow":
      return ["-g", names.chains.allow];
    case "pass":
      return ["-g", names.chains.pass];
    case "deny":
      return config.deny;
    case "log":
      return logTarget(policy, config);
  }
}

function waysToMatch(rule: CompiledRule, { family, sets }: RuleContext): readonly (readonly string[])[] {
  if (rule.ipVersion !== undefined && rule.ipVersion !== family) return [];
  if (rule.protocol !== undefined && rule.protocol === rule.notProtocol) return [];
  const source = new EndWords(rule.source, { ...SOURCE, family, sets });
  const destination = new EndWords(rule.destination, { ...DESTINATION, family, sets });
  if (!source.isPossible || !destination.isPossible) return [];
  const common = [
    ...protocolWords(rule),
    ...icmpWords(rule, family),
    ...source.words(),
    ...destination.words(),
  ];
  return source.ports().flatMap((from) => destination.ports().map((to) => [...common, ...from, ...to]));
}

const PROTOCOLS: Readonly<Record<number, string>> = {
  1: "icmp",
  6: "tcp",
  17: "udp",
  58: "ipv6-icmp",
  132: "sctp",
  136: "udplite",
};

/** iptables takes one protocol: a `notProtocol` beside a different `protocol` says nothing new. */
function protocolWords({ protocol, notProtocol }: CompiledRule): string[] {
  const text = (number: number) => PROTOCOLS[number] ?? String(number);
  if (protocol !== undefined) return ["-p", text(protocol)];
  return notProtocol !== undefined ? ["!", "-p", text(notProtocol)] : [];
}

function icmpWords({ icmp, notIcmp }: CompiledRule, family: Family): string[] {
  const [module, option] = family === 4 ? ["icmp", "--icmp-type"] : ["icmp6", "--icmpv6-type"];
  const text = ({ type, code }: IcmpMatch) => (code === undefined ? String(type) : `${type}/${code}`);
  return [
    ...(icmp ? ["-m", module, option, text(icmp)] : []),
    ...(notIcmp ? ["-m", module, "!", option, text(notIcmp)] : []),
  ];
}

interface Side {
  readonly address: "-s" | "-d";
  readonly set: "src" | "dst";
  readonly ports: "--sports" | "--dports";
}

const SOURCE: Side = { address: "-s", set: "src", ports: "--sports" };
const DESTINATION: Side = { address: "-d", set: "dst", ports: "--dports" };

/** The words for one end of the packet. */
class EndWords {
  readonly #match: EntityMatch;
  readonly #at: Side & Pick<RuleContext, "family" | "sets">;
  readonly #nets: readonly Prefix[];
  readonly #notNets: readonly Prefix[];

  constructor(match: EntityMatch, at: Side & Pick<RuleContext, "family" | "sets">) {
    this.#match = match;
    this.#at = at;
    this.#nets = match.nets.filter(({ family }) => family === at.family);
    this.#notNets = match.notNets.filter(({ family }) => family === at.family);
  }

  /** Not if only networks of the other family would do. */
  get isPossible(): boolean {
    return this.#match.nets.length === 0 || this.#nets.length > 0;
  }

  /** All that holds whatever the port. */
  words(): string[] {
    const { family, sets, set, ports } = this.#at;
    const { notPorts, notNamedPorts } = this.#match;
    return [
      ...this.#netWords(),
      ...this.#match.sets.flatMap((id) => ["-m", "set", "--match-set", sets.selected(id, family), set]),
      ...this.#match.notSets.flatMap((id) => [
        "-m",
        "set",
        "!",
        "--match-set",
        sets.selected(id, family),
        set,
      ]),
      ...multiports(notPorts).flatMap((list) => ["-m", "multiport", "!", ports, list]),
      ...notNamedPorts.flatMap((id) => [
        ...["-m", "set", "!", "--match-set", sets.selected(id, family), `${set},${set}`],
      ]),
    ];
  }

  /** The ways to match the port, one of which has to. */
  ports(): readonly (readonly string[])[] {
    const { family, sets, set, ports } = this.#at;
    const numbers = multiports(this.#match.ports).map((list) => ["-m", "multiport", ports, list]);
    const named = this.#match.namedPorts.map((id) => [
      ...["-m", "set", "--match-set", sets.selected(id, family), `${set},${set}`],
    ]);
    return numbers.length + named.length > 0 ? [...numbers, ...named] : [[]];
  }

  /** iptables takes one address: the second list, and every list longer than one, becomes a set. */
  #netWords(): string[] {
    const { address } = this.#at;
    const [only] = this.#nets;
    const [excluded] = this.#notNets;
    if (!only && excluded && this.#notNets.length === 1) return ["!", address, formatPrefix(excluded)];
    return [
      ...(only && this.#nets.length === 1 ? [address, formatPrefix(only)] : this.#netSet(this.#nets, [])),
      ...this.#netSet(this.#notNets, ["!"]),
    ];
  }

  #netSet(nets: readonly Prefix[], not: readonly string[]): string[] {
    const { family, sets, set } = this.#at;
    return nets.length === 0 ? [] : ["-m", "set", ...not, "--match-set", sets.nets(nets, family), set];
  }
}

/** xt_multiport takes 15 ports; a range counts as two. */
const MULTIPORT_SLOTS = 15;

/** Lists for multiport, each as long as it may be. */
function multiports(ranges: readonly PortRange[]): readonly string[] {
  const lists: { texts: string[]; slots: number }[] = [];
  for (const { first, last } of ranges) {
    const slots = first === last ? 1 : 2;
    const current = lists.at(-1);
    const text = first === last ? String(first) : `${first}:${last}`;
    if (current && current.slots + slots <= MULTIPORT_SLOTS) {
      current.texts.push(text);
      current.slots += slots;
    } else lists.push({ texts: [text], slots });
  }
  return lists.map(({ texts }) => texts.join(","));
}
