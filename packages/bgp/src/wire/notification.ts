import { type Family, Reader, Writer } from "@margay/net";
import { readFamily } from "./capabilities.ts";
import { afi, safiUnicast } from "./code-points.ts";
import { type BgpError, describeError, type ErrorCode, errors } from "./error.ts";

/** NOTIFICATION, RFC 4271 §4.5. */
export interface Notification {
  readonly kind: "notification";
  readonly code: number;
  readonly subcode: number;
  readonly data: Uint8Array;
}

export const readNotification = (r: Reader): Notification => ({
  kind: "notification",
  code: r.u8(),
  subcode: r.u8(),
  data: r.rest().slice(),
});

export const writeNotification = (n: Notification): Uint8Array =>
  new Writer(32).u8(n.code).u8(n.subcode).bytes(n.data).done();

/** The NOTIFICATION that reports an error to the peer. */
export function notificationOf(error: BgpError): Notification {
  const { code, subcode } = errors[error.code];
  return { kind: "notification", code, subcode, data: error.data };
}

/** RFC 9003 §2: the operator's words as data of an Administrative Shutdown or Reset, cut to 255 bytes between characters. */
export function shutdownData(text: string): Uint8Array {
  const bytes = new Uint8Array(255);
  const { written } = new TextEncoder().encodeInto(text, bytes);
  return new Writer(256).sized8((w) => w.bytes(bytes.subarray(0, written))).done();
}

/** RFC 4486 §4: the data of Maximum Number of Prefixes Reached: AFI, SAFI, upper bound. */
export const maxPrefixesData = (family: Family, limit: number): Uint8Array =>
  new Writer(7).u16(afi[family]).u8(safiUnicast).u32(limit).done();

/** RFC 8538 §3: a Hard Reset carries the NOTIFICATION that says why. */
export function hardReset({ code, subcode, data }: Notification): Notification {
  const inner = new Writer(2 + data.length).u8(code).u8(subcode).bytes(data).done();
  return { kind: "notification", ...codesOf("hard-reset"), data: inner };
}

/** Whether it is a Hard Reset: the peer's routes go at once, whatever graceful restart would keep. */
export const isHardReset = ({ code, subcode }: Notification): boolean =>
  code === errors["hard-reset"].code && subcode === errors["hard-reset"].subcode;

function codesOf(name: ErrorCode): { code: number; subcode: number } {
  const { code, subcode } = errors[name];
  return { code, subcode };
}

/** Words for an operator, with what the data says: the shutdown message, the limit, the reason behind a Hard Reset. */
export function describeNotification(n: Notification): string {
  const words = describeError(n.code, n.subcode);
  if (n.code !== errors["admin-shutdown"].code || n.data.length === 0) return words;
  switch (n.subcode) {
    case errors["max-prefixes"].subcode:
      return n.data.length === 7 ? `${words}: ${limitWords(new Reader(n.data))}` : words;
    case errors["admin-shutdown"].subcode:
    case errors["admin-reset"].subcode:
      return n.data[0] === 0 ? words : `${words}: ${shutdownWords(n.data)}`;
    case errors["hard-reset"].subcode:
      return n.data.length < 2
        ? words
        : `${words}: ${describeNotification(readNotification(new Reader(n.data)))}`;
    default:
      return words;
  }
}

function limitWords(r: Reader): string {
  const family = readFamily(r.u16(), r.u8());
  return `more than ${r.u32()} prefixes${family ? ` of IPv${family}` : ""}`;
}

/** RFC 9003 §4: broken lengths and characters are reported as such; control characters never reach a terminal. */
function shutdownWords(data: Uint8Array): string {
  const length = data[0]!; // the caller saw a byte
  if (length >= data.length) return "(malformed shutdown message)";
  return new TextDecoder().decode(data.subarray(1, 1 + length)).replace(/\p{Cc}/gu, " ");
}
