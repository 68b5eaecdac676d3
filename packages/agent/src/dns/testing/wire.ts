import { type Address, Writer } from "@margay/net";

/** DNS messages as a server and a resolver's client write them (RFC 1035 §4.1): for tests, with nothing compressed but what asks for it. */

export const TYPE = { A: 1, CNAME: 5, AAAA: 28 } as const;
/** QR, RD, RA. */
const ANSWER = 0x8180;
const QUERY = 0x0100;

export interface TestRecord {
  readonly owner: string;
  readonly ttl?: number;
  readonly data: Address | string;
}

export interface Asked {
  readonly domain: string;
  readonly family: 4 | 6;
}

/** Where the question stands, as a pointer. */
const QUESTION = Uint8Array.of(0xc0, 12);

function name(w: Writer, text: string): void {
  for (const label of text.split(".")) w.sized8((s) => s.bytes(new TextEncoder().encode(label)));
  w.u8(0);
}

function header(w: Writer, { flags, id, answers }: { flags: number; id: number; answers: number }): Writer {
  return w.u16(id).u16(flags).u16(1).u16(answers).u16(0).u16(0);
}

function question(w: Writer, { domain, family }: Asked): void {
  name(w, domain);
  w.u16(family === 4 ? TYPE.A : TYPE.AAAA).u16(1);
}

export function query(asked: Asked, id: number): Uint8Array {
  const w = header(new Writer(), { flags: QUERY, id, answers: 0 });
  question(w, asked);
  return w.done();
}

export function answer(asked: Asked, records: readonly TestRecord[], id = 0): Uint8Array {
  const w = header(new Writer(), { flags: ANSWER, id, answers: records.length });
  question(w, asked);
  for (const { owner, ttl = 60, data } of records) {
    if (owner === asked.domain) w.bytes(QUESTION);
    else name(w, owner);
    const type = typeof data === "string" ? TYPE.CNAME : data.family === 4 ? TYPE.A : TYPE.AAAA;
    w.u16(type).u16(1).u32(ttl);
    w.sized16((d) => (typeof data === "string" ? name(d, data) : d.address(data)));
  }
  return w.done();
}

/** What a query asks for. */
export function asked(message: Uint8Array): Asked & { readonly id: number } {
  const labels: string[] = [];
  let at = 12;
  for (let size = message[at] ?? 0; size > 0; size = message[at] ?? 0) {
    labels.push(String.fromCharCode(...message.subarray(at + 1, at + 1 + size)));
    at += size + 1;
  }
  const id = ((message[0] ?? 0) << 8) | (message[1] ?? 0);
  return { domain: labels.join("."), family: message[at + 2] === TYPE.AAAA ? 6 : 4, id };
}

/** In UDP (no checksums) over IP, from port 53. */
export function datagram(family: 4 | 6, payload: Uint8Array): Uint8Array {
  const udp = new Writer()
    .u16(53)
    .u16(40_000)
    .u16(8 + payload.length)
    .u16(0)
    .bytes(payload)
    .done();
  const zeros = (n: number) => new Uint8Array(n);
  return family === 4
    ? new Writer()
        .u8(0x45)
        .u8(0)
        .u16(20 + udp.length)
        .u32(0)
        .u8(64)
        .u8(17)
        .bytes(zeros(10))
        .bytes(udp)
        .done()
    : new Writer().u32(0x60000000).u16(udp.length).u8(17).u8(64).bytes(zeros(32)).bytes(udp).done();
}
