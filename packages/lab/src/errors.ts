export type LabErrorCode =
  | "missing-program"
  | "no-namespaces"
  | "kernel"
  | "running"
  | "not-running"
  | "command-failed"
  | "timeout"
  | "exited"
  | "cni"
  | "not-found"
  | "exists"
  | "invalid";

/** What the lab expects to go wrong: one line for a person, a code for programs. */
export class LabError extends Error {
  readonly code: LabErrorCode;

  constructor(code: LabErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "LabError";
    this.code = code;
  }
}
