/** Error codes of the CNI specification (1 to 99), and ours. */
export const CNI_CODES = {
  "incompatible-version": 1,
  "unsupported-field": 2,
  "unknown-container": 3,
  "invalid-environment": 4,
  "io-failure": 5,
  undecodable: 6,
  "invalid-configuration": 7,
  "try-again-later": 11,
  "plugin-unavailable": 50,
  "limited-connectivity": 51,
  "no-address": 100,
  "address-not-available": 101,
  "not-as-added": 110,
  internal: 999,
} as const;

export type CniCode = keyof typeof CNI_CODES;

/** A failure as the runtime is told it. */
export class CniError extends Error {
  override readonly name = "CniError";
  readonly code: CniCode;
  /** What to do about it, or where to look. */
  readonly details: string | undefined;

  constructor(code: CniCode, message: string, facts: { details?: string; cause?: unknown } = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.code = code;
    this.details = facts.details;
  }
}
