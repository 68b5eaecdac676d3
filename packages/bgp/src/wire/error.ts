/**
 * Every NOTIFICATION that has a name: error code, subcode, clause, and the words an operator reads. The key is the
 * `code` of a BgpError. Those that RFC 7606 made outcomes of routes are never sent, and named for peers that do.
 */
export const errors = {
  "connection-not-synchronized": {
    code: 1,
    subcode: 1,
    rfc: "RFC 4271 §6.1",
    text: "Connection Not Synchronized",
  },
  "bad-message-length": { code: 1, subcode: 2, rfc: "RFC 4271 §6.1", text: "Bad Message Length" },
  "bad-message-type": { code: 1, subcode: 3, rfc: "RFC 4271 §6.1", text: "Bad Message Type" },
  "open-unspecific": { code: 2, subcode: 0, rfc: "RFC 4271 §6.2", text: "OPEN Message Error" },
  "unsupported-version": { code: 2, subcode: 1, rfc: "RFC 4271 §6.2", text: "Unsupported Version Number" },
  "bad-peer-as": { code: 2, subcode: 2, rfc: "RFC 4271 §6.2", text: "Bad Peer AS" },
  "bad-bgp-identifier": { code: 2, subcode: 3, rfc: "RFC 6286 §2.2", text: "Bad BGP Identifier" },
  "unsupported-optional-parameter": {
    code: 2,
    subcode: 4,
    rfc: "RFC 4271 §6.2",
    text: "Unsupported Optional Parameter",
  },
  "unacceptable-hold-time": { code: 2, subcode: 6, rfc: "RFC 4271 §6.2", text: "Unacceptable Hold Time" },
  "unsupported-capability": { code: 2, subcode: 7, rfc: "RFC 5492 §5", text: "Unsupported Capability" },
  "role-mismatch": { code: 2, subcode: 11, rfc: "RFC 9234 §4.2", text: "Role Mismatch" },
  "malformed-attribute-list": { code: 3, subcode: 1, rfc: "RFC 4271 §6.3", text: "Malformed Attribute List" },
  "unrecognized-well-known": {
    code: 3,
    subcode: 2,
    rfc: "RFC 4271 §6.3",
    text: "Unrecognized Well-known Attribute",
  },
  "missing-well-known": { code: 3, subcode: 3, rfc: "RFC 4271 §6.3", text: "Missing Well-known Attribute" },
  "attribute-flags": { code: 3, subcode: 4, rfc: "RFC 4271 §6.3", text: "Attribute Flags Error" },
  "attribute-length": { code: 3, subcode: 5, rfc: "RFC 4271 §6.3", text: "Attribute Length Error" },
  "invalid-origin": { code: 3, subcode: 6, rfc: "RFC 4271 §6.3", text: "Invalid ORIGIN Attribute" },
  "invalid-next-hop": { code: 3, subcode: 8, rfc: "RFC 4271 §6.3", text: "Invalid NEXT_HOP Attribute" },
  "optional-attribute": { code: 3, subcode: 9, rfc: "RFC 4271 §6.3", text: "Optional Attribute Error" },
  "invalid-network": { code: 3, subcode: 10, rfc: "RFC 4271 §6.3", text: "Invalid Network Field" },
  "malformed-as-path": { code: 3, subcode: 11, rfc: "RFC 4271 §6.3", text: "Malformed AS_PATH" },
  "hold-timer-expired": { code: 4, subcode: 0, rfc: "RFC 4271 §6.5", text: "Hold Timer Expired" },
  "fsm-error": { code: 5, subcode: 0, rfc: "RFC 4271 §6.6", text: "Finite State Machine Error" },
  "fsm-open-sent": { code: 5, subcode: 1, rfc: "RFC 6608 §3", text: "Unexpected message in OpenSent" },
  "fsm-open-confirm": { code: 5, subcode: 2, rfc: "RFC 6608 §3", text: "Unexpected message in OpenConfirm" },
  "fsm-established": { code: 5, subcode: 3, rfc: "RFC 6608 §3", text: "Unexpected message in Established" },
  "max-prefixes": { code: 6, subcode: 1, rfc: "RFC 4486 §3", text: "Maximum Number of Prefixes Reached" },
  "admin-shutdown": { code: 6, subcode: 2, rfc: "RFC 4486 §3", text: "Administrative Shutdown" },
  "peer-deconfigured": { code: 6, subcode: 3, rfc: "RFC 4486 §3", text: "Peer De-configured" },
  "admin-reset": { code: 6, subcode: 4, rfc: "RFC 4486 §3", text: "Administrative Reset" },
  "connection-rejected": { code: 6, subcode: 5, rfc: "RFC 4486 §3", text: "Connection Rejected" },
  "configuration-change": { code: 6, subcode: 6, rfc: "RFC 4486 §3", text: "Other Configuration Change" },
  "connection-collision": {
    code: 6,
    subcode: 7,
    rfc: "RFC 4486 §3",
    text: "Connection Collision Resolution",
  },
  "out-of-resources": { code: 6, subcode: 8, rfc: "RFC 4486 §3", text: "Out of Resources" },
  "hard-reset": { code: 6, subcode: 9, rfc: "RFC 8538 §3", text: "Hard Reset" },
  "bfd-down": { code: 6, subcode: 10, rfc: "RFC 9384 §3", text: "BFD Down" },
  "refresh-length": { code: 7, subcode: 1, rfc: "RFC 7313 §5", text: "Invalid Message Length" },
  "send-hold-timer-expired": { code: 8, subcode: 0, rfc: "RFC 9687 §3.2", text: "Send Hold Timer Expired" },
} as const;

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
