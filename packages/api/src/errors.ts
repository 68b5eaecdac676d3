import type { AnyResource } from "./definitions.ts";

/** One fault of a document. `path` is the field, such as `spec.ingress[0].protocol`; empty for the document itself. */
export interface Issue {
  readonly path: string;
  /** What was found and what is allowed. */
  readonly message: string;
}

/** A document that is no resource: `invalid` fields, an `unknown-kind`, or a `corrupt` datastore value. */
export class ApiError extends Error {
  readonly code: "invalid" | "unknown-kind" | "corrupt";
  /** Where the document came from: "file.yaml:12", or a datastore key. */
  readonly origin: string | undefined;
  readonly kind: string | undefined;
  /** metadata.name of the document. */
  readonly resource: string | undefined;
  readonly issues: readonly Issue[];
  /** Of corrupt settings: the object without the fields at fault. */
  readonly readable: AnyResource | undefined;

  constructor(facts: {
    code: ApiError["code"];
    origin?: string;
    kind?: string;
    name?: string;
    issues: readonly Issue[];
    readable?: AnyResource | undefined;
    cause?: unknown;
  }) {
    super(text(facts), { cause: facts.cause });
    this.code = facts.code;
    this.origin = facts.origin;
    this.kind = facts.kind;
    this.resource = facts.name;
    this.issues = facts.issues;
    this.readable = facts.readable;
  }
}

/** "policy.yaml:12: NetworkPolicy web: spec.tier: must be ...", one line per issue. */
function text({
  origin,
  kind,
  name,
  issues,
}: {
  origin?: string;
  kind?: string;
  name?: string;
  issues: readonly Issue[];
}): string {
  const subject = [origin, [kind, name].filter(Boolean).join(" ")].filter(Boolean).join(": ");
  return issues.map(({ path, message }) => [subject, path, message].filter(Boolean).join(": ")).join("\n");
}
