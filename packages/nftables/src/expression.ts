import {
  type Address,
  addressToBytes,
  type Family,
  type Prefix,
  parseAddress,
  parsePrefix,
  width,
} from "@margay/net";
import type { Encoder } from "@margay/netlink";
import {
  big16,
  host32,
  interfaceBytes,
  nested,
  number,
  number64,
  register,
  value,
  verdict,
} from "./encode.ts";
import { fieldBytes } from "./field.ts";
import type { Action, CtState, Field, Match, Ports, Rule } from "./statement.ts";

/** Writes a rule's expressions, which the kernel runs one after the other until one does not match. */
export function writeExpressions(e: Encoder, { match, action, id }: Rule, family: Family): void {
  const w = new Writer(e, family);
  for (const one of match) w.match(one);
  if (id !== undefined) w.counter();
  if (action) w.action(action);
}

const REG = register.first;
const EQUAL = 0;
const UNEQUAL = 1;
const meta = {
  ...{ mark: 3, iifname: 6, oifname: 7, iiftype: 8, protocol: 16, iifgroup: 21, oifgroup: 22 },
} as const;
const ct = { state: 0, direction: 1, mark: 3, dport: 12 } as const;
const CT_DIRECTIONS = { original: 0, reply: 1 } as const;
/** NFT_PAYLOAD_*_HEADER. */
const header = { link: 0, network: 1, transport: 2 } as const;
const ETHERNET = Uint8Array.of(1, 0); // ARPHRD_ETHER in the host's order
const CT_STATES: Readonly<Record<CtState, number>> = {
  ...{ invalid: 1, established: 2, related: 4, new: 8, untracked: 64 },
};
const SECONDS = { second: 1, minute: 60, hour: 3600, day: 86_400 } as const;
const fib = { source: 1, destination: 2, mark: 4, iif: 8, present: 32, oif: 1, addressType: 3 } as const;
const ADDRESS_TYPES = { unicast: 1, local: 2, broadcast: 3 } as const; // RTN_*
const RANDOM_FULLY = 1 << 4; // NF_NAT_RANGE_PROTO_RANDOM_FULLY
const PORTS_GIVEN = 1 << 1; // NF_NAT_RANGE_PROTO_SPECIFIED: `masq`, unlike `nat`, does not set it itself, and then heeds no ports
const QUEUE_REVISION = 3;
const QUEUE_BYPASS = 1; // NFQ_FLAG_BYPASS
const OVER = 1; // NFT_CONNLIMIT_F_INV
/** ICMP port unreachable, as iptables' REJECT sends by default. */
const UNREACHABLE = { 4: 3, 6: 4 } as const;
const ADDRESS_AT = { 4: { saddr: 12, daddr: 16 }, 6: { saddr: 8, daddr: 24 } } as const;

class Writer {
  readonly #e: Encoder;
  readonly #family: Family;

  constructor(e: Encoder, family: Family) {
    this.#e = e;
    this.#family = family;
  }

  match(m: Match): void {
    const op = m.not ? UNEQUAL : EQUAL;
    switch (m.match) {
      case "iifname":
      case "oifname":
        this.#meta(meta[m.match]);
        this.#compare(op, nameBytes(m.name));
        break;
      case "iifgroup":
      case "oifgroup":
        this.#meta(meta[m.match]);
        this.#compare(op, host32(m.number));
        break;
      case "saddr":
      case "daddr":
        this.#net(m.match, parsePrefix(m.net, { mask: true }), op);
        break;
      case "protocol":
        this.#meta(meta.protocol);
        this.#compare(op, Uint8Array.of(m.number));
        break;
      case "sport":
      case "dport":
        this.#load(m.match, REG);
        if (m.first === m.last) this.#compare(op, big16(m.first));
        else this.#range(op, m);
        break;
      case "icmp":
        this.#payload(header.transport, 0, m.code === undefined ? 1 : 2);
        this.#compare(op, Uint8Array.from(m.code === undefined ? [m.type] : [m.type, m.code]));
        break;
      case "set":
        if (m.fields.includes("ether saddr")) this.#isEthernet();
        this.#fields(m.fields);
        this.#lookup(m.set, { not: m.not });
        break;
      case "ct state": {
        this.#ct(ct.state);
        this.#and(host32(m.states.reduce((bits, state) => bits | CT_STATES[state], 0)));
        this.#compare(m.not ? EQUAL : UNEQUAL, host32(0));
        break;
      }
      case "ct direction":
        this.#ct(ct.direction);
        this.#compare(op, Uint8Array.of(CT_DIRECTIONS[m.direction]));
        break;
      case "ct original dport":
        this.#ct(ct.dport, CT_DIRECTIONS.original);
        this.#compare(op, big16(m.port));
        break;
      case "mark":
      case "ct mark":
        if (m.match === "mark") this.#meta(meta.mark);
        else this.#ct(ct.mark);
        this.#and(host32(m.mask));
        this.#compare(op, host32(m.value));
        break;
      case "ether saddr":
        this.#isEthernet();
        this.#load("ether saddr", REG);
        this.#compare(
          op,
          Uint8Array.from(m.mac.split(":"), (byte) => Number.parseInt(byte, 16)),
        );
        break;
      case "reverse path":
        this.#fib(fib.oif, fib.source | fib.mark | (m.loose ? 0 : fib.iif) | fib.present);
        this.#compare(EQUAL, host32(m.not ? 0 : 1));
        break;
      case "saddr type":
      case "daddr type":
        this.#fib(fib.addressType, m.match === "saddr type" ? fib.source : fib.destination);
        this.#compare(op, host32(ADDRESS_TYPES[m.type]));
        break;
      case "limit":
        this.#limit(m);
        break;
      case "ct count over":
        this.#expression("connlimit", (d) => number(number(d, 1, m.count), 2, OVER));
    }
  }

  action(a: Action): void {
    switch (a.do) {
      case "accept":
      case "drop":
      case "return":
        this.#immediate(a.do);
        break;
      case "jump":
      case "goto":
        this.#immediate(a.do, a.chain);
        break;
      case "vmap":
        this.#fields(a.fields);
        this.#lookup(a.map, { toVerdict: true });
        break;
      case "reject":
      case "reject tcp": {
        const isTcp = a.do === "reject tcp";
        this.#expression("reject", (d) =>
          number(d, 1, isTcp ? 1 : 0).attributeBytes(2, Uint8Array.of(isTcp ? 0 : UNREACHABLE[this.#family])),
        );
        break;
      }
      case "masquerade":
        this.#masquerade(a);
        break;
      case "snat":
      case "dnat":
        this.#nat(a);
        break;
      case "set mark":
      case "set ct mark":
        this.#setMark(a);
        break;
      case "set dscp":
        this.#setDscp(a.value);
        break;
      case "log":
        this.#expression("log", (d) => number(d.attributeText(2, a.prefix), 5, a.level));
        break;
      case "notrack":
        this.#expression("notrack", () => undefined);
        break;
      case "queue":
        this.#queue(a.number);
    }
  }

  /**
   * By xtables' target: each kernel on which iptables-nft runs takes it (nft_compat), and not each has nft_queue. Its data are
   * xt_NFQ_info_v3, in the host's order: number, count of queues, flags, padding.
   */
  #queue(number_: number): void {
    const info = new Uint8Array(8);
    const view = new DataView(info.buffer);
    for (const [i, n] of [number_, 1, QUEUE_BYPASS].entries()) view.setUint16(2 * i, n, true);
    this.#expression("target", (d) =>
      number(d.attributeText(1, "NFQUEUE"), 2, QUEUE_REVISION).attributeBytes(3, info),
    );
  }

  /** From zero. */
  counter(): void {
    this.#expression("counter", () => undefined);
  }

  #expression(name: string, body: (e: Encoder) => void): void {
    nested(this.#e, 1, (e) => {
      e.attributeText(1, name);
      nested(e, 2, body);
    });
  }

  #meta(key: number, into: number = REG): void {
    this.#expression("meta", (d) => number(number(d, 2, key), 1, into));
  }

  #ct(key: number, direction?: number): void {
    this.#expression("ct", (d) => {
      number(number(d, 2, key), 1, REG);
      if (direction !== undefined) d.attributeBytes(3, Uint8Array.of(direction));
    });
  }

  #payload(base: number, offset: number, length: number, into: number = REG): void {
    this.#expression("payload", (d) => {
      for (const [type, n] of [into, base, offset, length].entries()) number(d, type + 1, n);
    });
  }

  #compare(op: number, bytes: Uint8Array): void {
    this.#expression("cmp", (d) => value(number(number(d, 1, REG), 2, op), 3, bytes));
  }

  #range(op: number, { first, last }: Ports): void {
    this.#expression("range", (d) =>
      value(value(number(number(d, 1, REG), 2, op), 3, big16(first)), 4, big16(last)),
    );
  }

  #and(mask: Uint8Array): void {
    this.#bitwise(mask, new Uint8Array(mask.length));
  }

  #bitwise(mask: Uint8Array, xor: Uint8Array): void {
    this.#expression("bitwise", (d) => {
      number(number(number(d, 1, REG), 2, REG), 3, mask.length);
      value(value(d, 4, mask), 5, xor);
    });
  }

  #net(field: "saddr" | "daddr", net: Prefix, op: number): void {
    this.#load(field, REG);
    if (net.length < width(net.family)) this.#and(maskBytes(net));
    this.#compare(op, addressBytes(net));
  }

  /** Loads one field and answers the next free register. */
  #load(field: Field, into: number): number {
    switch (field) {
      case "saddr":
      case "daddr":
        this.#payload(header.network, ADDRESS_AT[this.#family][field], width(this.#family) / 8, into);
        break;
      case "sport":
      case "dport":
        this.#payload(header.transport, field === "sport" ? 0 : 2, 2, into);
        break;
      case "ether saddr":
        this.#payload(header.link, 6, 6, into);
        break;
      case "protocol":
      case "iifname":
      case "oifname":
      case "iifgroup":
      case "oifgroup":
        this.#meta(meta[field], into);
    }
    return into + Math.ceil(fieldBytes(field, this.#family) / 4);
  }

  #isEthernet(): void {
    this.#meta(meta.iiftype);
    this.#compare(EQUAL, ETHERNET);
  }

  #fields(fields: readonly Field[]): void {
    let into: number = REG;
    for (const field of fields) into = this.#load(field, into);
  }

  #lookup(set: string, { not, toVerdict }: { not?: boolean | undefined; toVerdict?: boolean }): void {
    this.#expression("lookup", (d) => {
      number(d.attributeText(1, set), 2, REG);
      if (toVerdict) number(d, 3, register.verdict);
      if (not) number(d, 5, 1);
    });
  }

  #immediate(code: "accept" | "drop" | "return" | "jump" | "goto", chain?: string): void {
    this.#expression("immediate", (d) => verdict(number(d, 1, register.verdict), 2, code, chain));
  }

  #fib(result: number, flags: number): void {
    this.#expression("fib", (d) => number(number(number(d, 1, REG), 2, result), 3, flags));
  }

  #limit({ rate, per, burst, not }: Extract<Match, { match: "limit" }>): void {
    this.#expression("limit", (d) =>
      number(number(number(number64(number64(d, 1, rate), 2, SECONDS[per]), 3, burst), 4, 0), 5, not ? 1 : 0),
    );
  }

  #setMark(a: Extract<Action, { do: "set mark" | "set ct mark" }>): void {
    const isPackets = a.do === "set mark";
    if (isPackets) this.#meta(meta.mark);
    else this.#ct(ct.mark);
    this.#bitwise(host32(~a.mask), host32(a.value));
    this.#expression(isPackets ? "meta" : "ct", (d) =>
      number(number(d, 2, isPackets ? meta.mark : ct.mark), isPackets ? 3 : 4, REG),
    );
  }

  /** In the first two bytes: IPv4's second has it above ECN, IPv6's are version, traffic class, flow label. */
  #setDscp(dscp: number): void {
    const is4 = this.#family === 4;
    this.#payload(header.network, 0, 2);
    if (is4) this.#bitwise(Uint8Array.of(0xff, 0x03), Uint8Array.of(0, dscp << 2));
    else this.#bitwise(Uint8Array.of(0xf0, 0x3f), big16(dscp << 6));
    const checksum = is4 ? [1, 10] : [0, 0]; // which, and where: IPv4's of its header
    this.#expression("payload", (d) => {
      for (const [i, n] of [header.network, 0, 2, REG, ...checksum].entries()) number(d, i + 2, n);
    });
  }

  #masquerade({ ports, random }: Extract<Action, { do: "masquerade" }>): void {
    if (ports) this.#ports(ports, REG);
    const flags = (random ? RANDOM_FULLY : 0) | (ports ? PORTS_GIVEN : 0);
    this.#expression("masq", (d) => {
      if (flags > 0) number(d, 1, flags);
      if (ports) number(number(d, 2, REG), 3, REG + 1);
    });
  }

  #nat({ do: kind, address, ports, random }: Extract<Action, { do: "snat" | "dnat" }>): void {
    const afterAddress = REG + width(this.#family) / 32;
    this.#constant(addressBytes(parseAddress(address)), REG);
    if (ports) this.#ports(ports, afterAddress);
    this.#expression("nat", (d) => {
      number(number(number(d, 1, kind === "snat" ? 0 : 1), 2, this.#family === 4 ? 2 : 10), 3, REG);
      if (ports) number(number(d, 5, afterAddress), 6, afterAddress + 1);
      if (random) number(d, 7, RANDOM_FULLY);
    });
  }

  #ports({ first, last }: Ports, into: number): void {
    this.#constant(big16(first), into);
    this.#constant(big16(last), into + 1);
  }

  #constant(bytes: Uint8Array, into: number): void {
    this.#expression("immediate", (d) => value(number(d, 1, into), 2, bytes));
  }
}

/** A pattern is compared as far as it goes; a name whole, with its NULs. */
const nameBytes = (name: string): Uint8Array =>
  name.endsWith("*") ? new TextEncoder().encode(name.slice(0, -1)) : interfaceBytes(name);

function addressBytes({ family, bits }: Address): Uint8Array {
  return addressToBytes({ family, bits });
}

function maskBytes({ family, length }: Prefix): Uint8Array {
  const all = (1n << BigInt(width(family))) - 1n;
  return addressToBytes({ family, bits: (all << BigInt(width(family) - length)) & all });
}
