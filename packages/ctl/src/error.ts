/** Why a command failed. The message is for people and complete: what, where, and what to do. */
export class CtlError extends Error {
  override readonly name = "CtlError";
  readonly code: "unknown-kind" | "not-found" | "usage" | "unreadable" | "invalid" | "refused" | "incomplete";

  constructor(code: CtlError["code"], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}
