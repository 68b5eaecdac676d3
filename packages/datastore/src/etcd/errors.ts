import { StoreError, type StoreErrorCode } from "../store.ts";

/** What to put in the message of an error. */
export interface Failed {
  readonly endpoint: string;
  readonly username?: string | undefined;
  readonly timeoutMs: number;
  readonly key?: string | undefined;
}

interface Row {
  readonly when: RegExp;
  readonly code: StoreErrorCode;
  readonly text: (failed: Failed) => string;
}

const who = ({ username }: Failed) =>
  username === undefined ? "a client without --etcd-username" : `user "${username}"`;

/**
 * etcd's and grpc's texts, first match wins. Both libraries type their errors by such texts only (etcd3 drops
 * grpc's code when it wraps an error), so the text is what we have.
 */
const table: readonly Row[] = [
  {
    when: /revision has been compacted/,
    code: "compacted",
    text: () => "this revision is compacted: list again",
  },
  {
    when: /invalid user ID or password/,
    code: "unauthorized",
    text: (f) => `refuses ${who(f)}: check --etcd-username and --etcd-password`,
  },
  {
    when: /user name is empty/,
    code: "unauthorized",
    text: () => "has authentication enabled: give --etcd-username and --etcd-password",
  },
  {
    when: /permission denied/i,
    code: "denied",
    text: (f) =>
      `${who(f)} may not use ${f.key ?? "this key"}: grant a role with readwrite on the prefix /margay/v1/`,
  },
  {
    when: /disconnected before secure TLS connection/, // no word on whom it trusts
    code: "unavailable",
    text: () => "closes connections at once: is etcd running there?",
  },
  {
    when: /No connection established.*(certificate|self.signed|altnames|TLS|SSL|EPROTO)/i,
    code: "unauthorized",
    text: () =>
      "TLS fails: check --etcd-ca, --etcd-cert and --etcd-key, and that the endpoint's name is in its certificate",
  },
  {
    when: /ECONNREFUSED/,
    code: "unavailable",
    text: () => "connection refused: is etcd running there, and is --etcd-endpoints right?",
  },
  {
    when: /waiting for name resolution|name resolution failed|ENOTFOUND|EAI_AGAIN/i, // how long it took is no failure
    code: "unavailable",
    text: () => "the host name does not resolve: is --etcd-endpoints right?",
  },
  {
    when: /Connection dropped|ECONNRESET|No connection established/,
    code: "unavailable",
    text: () => "the connection is lost: is etcd running there?",
  },
  {
    when: /no leader/,
    code: "unavailable",
    text: () => "the cluster has no leader: bring a majority of its members up",
  },
  {
    when: /database space exceeded/,
    code: "unavailable",
    text: () => "its database is full: compact and defragment it, then run `etcdctl alarm disarm`",
  },
  {
    when: /too large|larger than max/, // far more than it takes is refused by its grpc already
    code: "too-large",
    text: (f) => `${f.key ?? "a value"} is larger than etcd's --max-request-bytes`,
  },
  {
    when: /DEADLINE_EXCEEDED|Deadline exceeded/,
    code: "unavailable",
    text: (f) => `no answer within ${f.timeoutMs} ms: is it overloaded, or a firewall in between?`,
  },
];

/** What these texts say beside what is the matter: grpc's code, and the places it keeps for what it does not know. */
const NOISE = /^9 FAILED_PRECONDITION: | Last error: null\.?| Resolution note: $/g;

/** Any error of a call on etcd as a `StoreError` that names the endpoint and what to do. */
export function storeError(error: unknown, failed: Failed): StoreError {
  if (error instanceof StoreError) return error;
  const cause = (error instanceof Error ? error.message : String(error)).replace(NOISE, "");
  const row = table.find(({ when }) => when.test(cause));
  const text = row === undefined ? cause : `${row.text(failed)} (${cause})`;
  const facts = failed.key === undefined ? { cause: error } : { cause: error, key: failed.key };
  return new StoreError(row?.code ?? "unavailable", `etcd ${failed.endpoint}: ${text}`, facts);
}

/**
 * The token is of no use any more (etcd restarted, users changed). Such a call was refused before it took
 * effect.
 */
export const isStaleToken = (error: unknown): boolean =>
  matches(error, /invalid auth token|auth store is old/);

/** The server has no users: a name and password are then simply not needed. */
export const isAuthDisabled = (error: unknown): boolean => matches(error, /authentication is not enabled/);

/**
 * The call never left this process: repeating it elsewhere cannot do it twice. "LB pick: 0.001s" and "name resolution: 0.2s" are
 * grpc's account of a call that was sent.
 */
export const wasNeverSent = (error: unknown): boolean =>
  matches(error, /No connection established|waiting for (LB pick|name resolution)|name resolution failed/i);

/** The endpoint, not the request, is at fault. */
export const isEndpointDown = (error: unknown): boolean =>
  matches(error, /UNAVAILABLE|DEADLINE_EXCEEDED|Deadline exceeded|no leader|CANCELLED/);

const matches = (error: unknown, pattern: RegExp): boolean =>
  error instanceof Error && pattern.test(error.message);
