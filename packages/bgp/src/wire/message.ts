import { type Family, Reader, ShortInput, Writer } from "@margay/net";
import { readFamily } from "./capabilities.ts";
import { afi, lengths, messageTypes, safiUnicast } from "./code-points.ts";
import { BgpError } from "./error.ts";
import type { Frame } from "./framer.ts";
import { type Notification, readNotification, writeNotification } from "./notification.ts";
import { type Open, readOpen, writeOpen } from "./open.ts";
import { readUpdate, type Update, type UpdateContext } from "./update.ts";

export interface Keepalive {
  readonly kind: "keepalive";
}

/** ROUTE-REFRESH, RFC 2918; `subtype` 1 and 2 are the begin and end marks of RFC 7313. No family: not one of ours. */
export interface RouteRefresh {
  readonly kind: "route-refresh";
  readonly family?: Family;
  readonly subtype: number;
}

export type Message = Open | Update | Notification | Keepalive | RouteRefresh;

/** The message of a frame. Throws BgpError, and nothing else. */
export function readMessage({ type, body }: Frame, ctx: UpdateContext): Message {
  try {
    switch (type) {
      case messageTypes.open.code:
        return readOpen(new Reader(body));
      case messageTypes.update.code:
        return readUpdate(body, ctx);
      case messageTypes.notification.code:
        return readNotification(new Reader(body));
      case messageTypes.keepalive.code:
        return { kind: "keepalive" };
      case messageTypes["route-refresh"].code:
        return readRefresh(new Reader(body));
      default:
        throw new BgpError("bad-message-type", { data: Uint8Array.of(type), detail: `type ${type}` });
    }
  } catch (cause) {
    if (!(cause instanceof ShortInput)) throw cause;
    throw new BgpError(shortIs[type] ?? "bad-message-length", { detail: cause.message, cause });
  }
}

/** What a body that ends too early means for its type. */
const shortIs: Readonly<Record<number, BgpError["code"]>> = {
  [messageTypes.open.code]: "open-unspecific",
  [messageTypes.update.code]: "malformed-attribute-list",
  [messageTypes["route-refresh"].code]: "refresh-length",
};

/** | AFI 2 | subtype 1 | SAFI 1 |, RFC 2918 §3, RFC 7313 §3.2. */
function readRefresh(r: Reader): RouteRefresh {
  if (r.left !== 4) {
    const detail = `${r.left} bytes`;
    throw new BgpError("refresh-length", { data: frame("route-refresh", r.rest()), detail }); // RFC 7313 §5: all of it
  }
  const afiCode = r.u16();
  const subtype = r.u8();
  const family = readFamily(afiCode, r.u8());
  return family ? { kind: "route-refresh", family, subtype } : { kind: "route-refresh", subtype };
}

/** A whole message with its header. UPDATE bodies come from `writeAnnouncements` and `writeWithdrawals`. */
export function writeMessage(m: Open | Notification | Keepalive | RouteRefresh): Uint8Array {
  switch (m.kind) {
    case "open":
      return frame("open", writeOpen(m));
    case "notification":
      return frame("notification", writeNotification(m));
    case "keepalive":
      return frame("keepalive", new Uint8Array());
    case "route-refresh":
      return frame(
        "route-refresh",
        new Writer(4)
          .u16(afi[m.family ?? 4])
          .u8(m.subtype)
          .u8(safiUnicast)
          .done(),
      );
  }
}

/** Puts the header of RFC 4271 §4.1 before a body. */
export function frame(type: keyof typeof messageTypes, body: Uint8Array): Uint8Array {
  const out = new Uint8Array(lengths.header + body.length).fill(0xff, 0, 16);
  out[16] = out.length >> 8;
  out[17] = out.length & 0xff;
  out[18] = messageTypes[type].code;
  out.set(body, lengths.header);
  return out;
}
