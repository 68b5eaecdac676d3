import { type Reader, Writer } from "@margay/net";
import { type BgpError, describeError, errors } from "./error.ts";

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

/** Words for an operator, with the shutdown message of RFC 9003 where there is one. */
export function describeNotification(n: Notification): string {
  const words = describeError(n.code, n.subcode);
  const shutdown = n.code === 6 && (n.subcode === 2 || n.subcode === 4) && n.data.length > 1;
  if (!shutdown || n.data[0]! >= n.data.length) return words; // length > 1 was just seen
  return `${words}: ${new TextDecoder().decode(n.data.subarray(1, 1 + n.data[0]!))}`;
}
