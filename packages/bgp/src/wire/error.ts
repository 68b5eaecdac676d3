interface ErrorRow {
  readonly code: number;
  readonly subcode: number;
  readonly rfc: string;
  readonly text: string;
}

const row = (code: number, subcode: number, rfc: string, text: string): ErrorRow => ({
  code,
  subcode,
  rfc,
  text,
});

/**
 * Every NOTIFICATION that has a name: error code, subcode, clause, and the words an operator reads. The key is the
 * `code` of a BgpError. Those that RFC 7606 made outcomes of routes are never sent, and named for peers that do.
 */
export const errors = {
  "connection-not-synchronized": row(1, 1, "RFC 4271 §6.1", "Connection Not Synchronized"),
  "bad-message-length": row(1, 2, "RFC 4271 §6.1", "Bad Message Length"),
  "bad-message-type": row(1, 3, "RFC 4271 §6.1", "Bad Message Type"),
  "open-unspecific": row(2, 0, "RFC 4271 §6.2", "OPEN Message Error"),
  "unsupported-version": row(2, 1, "RFC 4271 §6.2", "Unsupported Version Number"),
  "bad-peer-as": row(2, 2, "RFC 4271 §6.2", "Bad Peer AS"),
  "bad-bgp-identifier": row(2, 3, "RFC 6286 §2.2", "Bad BGP Identifier"),
  "unsupported-optional-parameter": row(2, 4, "RFC 4271 §6.2", "Unsupported Optional Parameter"),
  "unacceptable-hold-time": row(2, 6, "RFC 4271 §6.2", "Unacceptable Hold Time"),
  "unsupported-capability": row(2, 7, "RFC 5492 §5", "Unsupported Capability"),
  "role-mismatch": row(2, 11, "RFC 9234 §4.2", "Role Mismatch"),
  "malformed-attribute-list": row(3, 1, "RFC 4271 §6.3", "Malformed Attribute List"),
  "unrecognized-well-known": row(3, 2, "RFC 4271 §6.3", "Unrecognized Well-known Attribute"),
  "missing-well-known": row(3, 3, "RFC 4271 §6.3", "Missing Well-known Attribute"),
  "attribute-flags": row(3, 4, "RFC 4271 §6.3", "Attribute Flags Error"),
  "attribute-length": row(3, 5, "RFC 4271 §6.3", "Attribute Length Error"),
  "invalid-origin": row(3, 6, "RFC 4271 §6.3", "Invalid ORIGIN Attribute"),
  "invalid-next-hop": row(3, 8, "RFC 4271 §6.3", "Invalid NEXT_HOP Attribute"),
  "optional-attribute": row(3, 9, "RFC 4271 §6.3", "Optional Attribute Error"),
  "invalid-network": row(3, 10, "RFC 4271 §6.3", "Invalid Network Field"),
  "malformed-as-path": row(3, 11, "RFC 4271 §6.3", "Malformed AS_PATH"),
  "hold-timer-expired": row(4, 0, "RFC 4271 §6.5", "Hold Timer Expired"),
  "fsm-error": row(5, 0, "RFC 4271 §6.6", "Finite State Machine Error"),
  "fsm-open-sent": row(5, 1, "RFC 6608 §3", "Unexpected message in OpenSent"),
  "fsm-open-confirm": row(5, 2, "RFC 6608 §3", "Unexpected message in OpenConfirm"),
  "fsm-established": row(5, 3, "RFC 6608 §3", "Unexpected message in Established"),
  "max-prefixes": row(6, 1, "RFC 4486 §3", "Maximum Number of Prefixes Reached"),
  "admin-shutdown": row(6, 2, "RFC 4486 §3", "Administrative Shutdown"),
  "peer-deconfigured": row(6, 3, "RFC 4486 §3", "Peer De-configured"),
  "admin-reset": row(6, 4, "RFC 4486 §3", "Administrative Reset"),
  "connection-rejected": row(6, 5, "RFC 4486 §3", "Connection Rejected"),
  "configuration-change": row(6, 6, "RFC 4486 §3", "Other Configuration Change"),
  "connection-collision": row(6, 7, "RFC 4486 §3", "Connection Collision Resolution"),
  "out-of-resources": row(6, 8, "RFC 4486 §3", "Out of Resources"),
  "hard-reset": row(6, 9, "RFC 8538 §3", "Hard Reset"),
  "bfd-down": row(6, 10, "RFC 9384 §3", "BFD Down"),
  "refresh-length": row(7, 1, "RFC 7313 §5", "Invalid Message Length"),
  "send-hold-timer-expired": row(8, 0, "RFC 9687 §3.2", "Send Hold Timer Expired"),
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof errors;

/** A fault that ends the session: its NOTIFICATION is (`errors[code]`, `data`). The only error this package throws. */
export class BgpError extends Error {
  readonly code: ErrorCode;
  readonly data: Uint8Array;
  constructor(code: ErrorCode, options: { data?: Uint8Array; detail?: string; cause?: unknown } = {}) {
    const { text, rfc } = errors[code];
    super(`${text}${options.detail ? `: ${options.detail}` : ""} (${rfc})`, { cause: options.cause });
    this.code = code;
    this.data = options.data ?? new Uint8Array();
  }
}

/** `"Cease: Administrative Shutdown"` for a received code and subcode; numbers where we have no word. */
export function describeError(code: number, subcode: number): string {
  const row = Object.values(errors).find((e) => e.code === code && e.subcode === subcode);
  const family = classes[code] ?? `Error ${code}`;
  if (!row) return subcode === 0 ? family : `${family}, subcode ${subcode}`;
  return row.text === family ? family : `${family}: ${row.text}`;
}

/** Error codes, RFC 4271 §4.5, RFC 7313 §5, RFC 9687 §3.2. */
const classes: Readonly<Record<number, string>> = {
  1: "Message Header Error",
  2: "OPEN Message Error",
  3: "UPDATE Message Error",
  4: "Hold Timer Expired",
  5: "Finite State Machine Error",
  6: "Cease",
  7: "ROUTE-REFRESH Message Error",
  8: "Send Hold Timer Expired",
};
