import type { Encoder } from "@margay/netlink";

/** Numbers of linux/netfilter/nf_tables.h, by the kernel's own names in lower case. */
const NESTED = 0x8000;
export const register = { verdict: 0, first: 8 } as const; // NFT_REG32_00

/** Attributes of nf_tables, whose numbers are big-endian (those in registers are the host's, or the packet's). */
export const nested = (e: Encoder, type: number, body: (e: Encoder) => void): Encoder =>
  e.attribute(type | NESTED, body);

export const number = (e: Encoder, type: number, value: number): Encoder =>
  e.attributeBytes(type, big32(value));

export function number64(e: Encoder, type: number, value: number): Encoder {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return e.attributeBytes(type, bytes);
}

/** NFTA_DATA_VALUE inside an attribute. */
export const value = (e: Encoder, type: number, bytes: Uint8Array): Encoder =>
  nested(e, type, (d) => d.attributeBytes(1, bytes));

/** A signed code too: verdicts are negative. */
export function big32(n: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, n | 0);
  return bytes;
}

export function big16(n: number): Uint8Array {
  return Uint8Array.of(n >> 8, n & 0xff);
}

/** As the kernel's C code sees it: both supported architectures are little-endian. */
export function host32(n: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, n >>> 0, true);
  return bytes;
}

const NAME_BYTES = 16;

/** IFNAMSIZ bytes, padded with NUL. */
export function interfaceBytes(name: string): Uint8Array {
  const bytes = new Uint8Array(NAME_BYTES);
  bytes.set(new TextEncoder().encode(name).subarray(0, NAME_BYTES - 1));
  return bytes;
}

const VERDICTS = { drop: 0, accept: 1, jump: -3, goto: -4, return: -5 } as const;
export type Verdict = keyof typeof VERDICTS;

/** NFTA_DATA_VERDICT inside an attribute. */
export const verdict = (e: Encoder, type: number, code: Verdict, chain?: string): Encoder =>
  nested(e, type, (d) =>
    nested(d, 2, (v) => {
      number(v, 1, VERDICTS[code]);
      if (chain !== undefined) v.attributeText(2, chain);
    }),
  );

export const verdictName = (code: number): Verdict | undefined =>
  (Object.keys(VERDICTS) as Verdict[]).find((name) => VERDICTS[name] === code);
