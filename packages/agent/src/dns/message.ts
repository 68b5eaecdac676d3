import { type Address, Reader, ShortInput } from "@margay/net";

/** A packet that is no DNS answer of which an address could be learnt. */
export class DnsError extends Error {
  readonly code: "short" | "not-udp" | "not-an-answer" | "bad-name" | "too-many-records";
  constructor(code: DnsError["code"], why: string) {
    super(`DNS answer: ${why}`);
    this.name = "DnsError";
    this.code = code;
  }
}

export interface LearntAddress {
  readonly address: Address;
  /** Of the record, or of an alias on the way to it if that is less. */
  readonly ttlSeconds: number;
}

export interface DnsAnswer {
  /** As it was asked for, in lower case and without the root's dot. */
  readonly domain: string;
  readonly addresses: readonly LearntAddress[];
  /** Whom the packet goes to. */
  readonly asker: Address;
}

const UDP = 17;
/** RFC 1035 §3.2.2 and §3.2.4, RFC 3596 §2.1. */
const TYPE = { A: 1, CNAME: 5, AAAA: 28 } as const;
const INTERNET = 1;
/** A datagram holds no more than some thousands; who has so many addresses is nobody's to allow. */
const MOST_RECORDS = 1024;
const MOST_ALIASES = 16;
const MOST_JUMPS = 32;
const LONGEST_NAME = 253;

/** What an IPv4 or IPv6 packet with a DNS answer in UDP says of the addresses of the domain that was asked for. Throws DnsError, nothing else. */
export function readDnsAnswer(packet: Uint8Array): DnsAnswer {
  try {
    const { asker, payload } = readUdp(packet);
    return { ...readMessage(payload), asker };
  } catch (error) {
    if (error instanceof ShortInput) throw new DnsError("short", error.message);
    throw error;
  }
}

/** Behind the header of IPv4 (RFC 791 §3.1), or IPv6 without extensions (RFC 8200 §3), and of UDP (RFC 768). */
function readUdp(packet: Uint8Array): { readonly asker: Address; readonly payload: Uint8Array } {
  const r = new Reader(packet);
  const first = r.u8();
  const is4 = first >> 4 === 4;
  if (!is4 && first >> 4 !== 6) throw new DnsError("not-udp", `IP version ${first >> 4}`);
  r.bytes(is4 ? 8 : 5);
  const protocol = r.u8();
  if (protocol !== UDP) throw new DnsError("not-udp", `protocol ${protocol}`);
  r.bytes((is4 ? 16 : 24) - r.at);
  const asker = r.address(is4 ? 4 : 6);
  if (is4) r.bytes(Math.max((first & 0xf) * 4, r.at) - r.at); // these bits are IPv6's traffic class
  r.bytes(8);
  return { asker, payload: r.rest() };
}

/** RFC 1035 §4.1. Truncated ones too: what is there is true, and the asker comes again by TCP. */
function readMessage(message: Uint8Array): Omit<DnsAnswer, "asker"> {
  const r = new Reader(message);
  r.u16();
  const flags = r.u16();
  const [questions, answers] = [r.u16(), r.u16()];
  r.u32();
  if (flags >> 15 === 0 || ((flags >> 11) & 0xf) !== 0)
    throw new DnsError("not-an-answer", "a query, or of another kind");
  if (questions !== 1) throw new DnsError("not-an-answer", `${questions} questions`);
  if (answers > MOST_RECORDS) throw new DnsError("too-many-records", `${answers} records`);
  const domain = readName(r, message);
  r.u32();
  const found = (flags & 0xf) === 0 ? readRecords(r, message, answers) : NONE;
  return { domain, addresses: follow(domain, found) };
}

interface Records {
  readonly aliases: ReadonlyMap<string, { readonly to: string; readonly ttlSeconds: number }>;
  readonly addresses: ReadonlyMap<string, readonly LearntAddress[]>;
}

const NONE: Records = { aliases: new Map(), addresses: new Map() };

/** RFC 1035 §4.1.3: the answers' names, types and data. */
function readRecords(r: Reader, message: Uint8Array, count: number): Records {
  const aliases = new Map<string, { to: string; ttlSeconds: number }>();
  const addresses = new Map<string, LearntAddress[]>();
  for (let i = 0; i < count; i++) {
    const owner = readName(r, message);
    const [type, kind, ttl, length] = [r.u16(), r.u16(), r.u32(), r.u16()];
    const ttlSeconds = ttl >= 2 ** 31 ? 0 : ttl; // RFC 2181 §8
    const start = r.at;
    const rdata = r.bytes(length);
    if (kind !== INTERNET) continue;
    if (type === TYPE.CNAME)
      aliases.set(owner, { to: readName(readerAt(message, start), message), ttlSeconds });
    const family = type === TYPE.A && length === 4 ? 4 : type === TYPE.AAAA && length === 16 ? 6 : undefined;
    if (!family) continue;
    const its = addresses.get(owner) ?? [];
    addresses.set(owner, its);
    its.push({ address: new Reader(rdata).address(family), ttlSeconds });
  }
  return { aliases, addresses };
}

/** From alias to alias: an answer may bear records of names that nobody asked for, which are nobody's word. */
function follow(domain: string, { aliases, addresses }: Records): readonly LearntAddress[] {
  let [name, least] = [domain, Number.POSITIVE_INFINITY];
  for (let hops = 0; hops <= MOST_ALIASES; hops++) {
    const alias = aliases.get(name);
    if (!alias) break;
    name = alias.to;
    least = Math.min(least, alias.ttlSeconds);
  }
  return (addresses.get(name) ?? []).map(({ address, ttlSeconds }) => ({
    ...{ address, ttlSeconds: Math.min(ttlSeconds, least) },
  }));
}

function readerAt(message: Uint8Array, at: number): Reader {
  const r = new Reader(message);
  r.bytes(at);
  return r;
}

/**
 * RFC 1035 §4.1.4: labels, and pointers to where the rest stands. Only letters, digits, hyphens and underscores: a byte that is
 * a dot must not make one label look like two.
 */
function readName(r: Reader, message: Uint8Array): string {
  const labels: string[] = [];
  let [from, length] = [r, 0];
  for (let jumps = 0; ; ) {
    const size = from.u8();
    if (size === 0) return labels.join(".");
    if (size >= 0xc0) {
      if (++jumps > MOST_JUMPS) throw new DnsError("bad-name", "pointers without end");
      from = readerAt(message, ((size & 0x3f) << 8) | from.u8());
      continue;
    }
    if (size > 63) throw new DnsError("bad-name", `a label of kind ${size >> 6}`);
    const label = String.fromCharCode(...from.bytes(size)).toLowerCase();
    if (!/^[-_a-z0-9]+$/.test(label)) throw new DnsError("bad-name", "a label that no host bears");
    length += size + 1;
    if (length > LONGEST_NAME + 1) throw new DnsError("bad-name", "a name too long");
    labels.push(label);
  }
}
