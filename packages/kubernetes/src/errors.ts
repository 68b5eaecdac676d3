/** Why a call failed, for programs. */
export type KubernetesErrorCode =
  | "unavailable" // no answer, or 5xx: try again
  | "throttled" // 429: try again later
  | "unauthorized" // 401
  | "forbidden" // 403
  | "not-found" // 404
  | "conflict" // 409 to an update: somebody was faster
  | "exists" // 409 to a create
  | "expired" // 410: that history is gone, list again
  | "invalid" // any other 4xx
  | "configuration"; // how to reach the API server is not known

interface Facts {
  readonly status?: number | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

/** What the API server refused, or why it was not reached: `code` for programs, the message for people. */
export class KubernetesError extends Error {
  override readonly name = "KubernetesError";
  readonly code: KubernetesErrorCode;
  readonly status: number | undefined;
  /** The server's wish. */
  readonly retryAfterMs: number | undefined;

  constructor(code: KubernetesErrorCode, message: string, { status, retryAfterMs, cause }: Facts = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }
}

/** meta/v1 Status, as far as it is read. */
export interface Status {
  readonly code?: number;
  readonly reason?: string;
  readonly message?: string;
  readonly details?: { readonly retryAfterSeconds?: number };
}

const CODES: Readonly<Record<number, KubernetesErrorCode>> = {
  401: "unauthorized",
  403: "forbidden",
  404: "not-found",
  409: "conflict",
  410: "expired",
  429: "throttled",
};

/** The error of an answer that is none of success. `what` says which call it was. */
export function refusal(what: string, answer: Status & { readonly retryAfter?: string | undefined }) {
  const { code: status = 500, reason, message, details, retryAfter } = answer;
  const seconds = Number(retryAfter ?? details?.retryAfterSeconds ?? Number.NaN);
  const code =
    reason === "AlreadyExists" ? "exists" : (CODES[status] ?? (status >= 500 ? "unavailable" : "invalid"));
  const facts = { status, ...(seconds >= 0 && { retryAfterMs: seconds * 1000 }) };
  return new KubernetesError(code, `${what}: ${message || `HTTP ${status}`}${REMEDIES[code] ?? ""}`, facts);
}

const REMEDIES: Partial<Record<KubernetesErrorCode, string>> = {
  unauthorized: " (is the service account's token, or the kubeconfig's user, still valid?)",
  forbidden: " (the chart's ClusterRole grants it: is it installed and bound?)",
};
