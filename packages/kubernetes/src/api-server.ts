import { Agent as HttpAgent, type IncomingMessage, type RequestOptions, request } from "node:http";
import { Agent as HttpsAgent, request as secureRequest } from "node:https";
import type { Access } from "./access.ts";
import { KubernetesError, refusal, type Status } from "./errors.ts";

/** One call of the Kubernetes API. */
export interface Call {
  readonly method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Such as /api/v1/nodes/n1. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | undefined>>;
  /** Sent as JSON; with PATCH as a merge patch (RFC 7386). */
  readonly body?: unknown;
  /** Only metadata comes back (PartialObjectMetadata): a tenth of a pod. */
  readonly metadataOnly?: boolean;
  /** Until the answer is complete, or with `stream` until it begins. Default 30,000. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** A Kubernetes API server, or anything that speaks as one. Everything throws KubernetesError. */
export interface ApiServer {
  readonly namespace: string;
  /** The JSON of the answer. */
  call(call: Call): Promise<unknown>;
  /** The answer's body as it comes. Whoever takes it must read or destroy it. */
  stream(call: Call): Promise<IncomingMessage>;
  close(): void;
}

const TIMEOUT_MS = 30_000;
/** A connection whose other end vanished is noticed so soon. */
const KEEPALIVE_MS = 10_000;
const REMEDY = " (does it run, and is this its address? --kubeconfig says it, or the pod's service account)";
/** No answer of an API server is longer: a page of 500 large pods is a tenth of it. */
const MAX_BYTES = 256 * 1024 * 1024;

/** Calls over kept connections, with the credentials of the moment. */
export function apiServer(access: Access): ApiServer {
  const url = new URL(access.url);
  const isSecure = url.protocol === "https:";
  const kept = { keepAlive: true, keepAliveMsecs: KEEPALIVE_MS };
  const agent = isSecure ? new HttpsAgent({ ...kept, ...access.tls }) : new HttpAgent(kept);

  async function open(call: Call, signal: AbortSignal): Promise<IncomingMessage> {
    const body = call.body === undefined ? undefined : JSON.stringify(call.body);
    const authorization = await access.authorization();
    const options: RequestOptions = {
      ...{ agent, signal, method: call.method ?? "GET" },
      hostname: url.hostname.replace(/^\[|\]$/g, ""),
      port: url.port || (isSecure ? 443 : 80),
      path: url.pathname.replace(/\/$/, "") + call.path + search(call.query),
      headers: {
        accept: call.metadataOnly ? metadataOf(call) : "application/json",
        "user-agent": "margay",
        ...(authorization && { authorization }),
        ...(body !== undefined && {
          "content-type": call.method === "PATCH" ? "application/merge-patch+json" : "application/json",
          "content-length": `${Buffer.byteLength(body)}`,
        }),
      },
    };
    return new Promise((resolve, reject) => {
      const sent = (isSecure ? secureRequest : request)(options, resolve);
      sent.on("error", (error: NodeJS.ErrnoException) => {
        // the server had closed the kept connection just then: nothing was asked yet
        const isStale = sent.reusedSocket && error.code === "ECONNRESET" && options.method === "GET";
        if (isStale && !signal.aborted) open(call, signal).then(resolve, reject);
        else reject(error);
      });
      sent.on("socket", (socket) => socket.setKeepAlive(true, KEEPALIVE_MS));
      sent.end(body);
    });
  }

  /** Runs `act` with a signal that the deadline and the caller's own signal both abort. */
  async function timed<T>(call: Call, act: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const timeoutMs = call.timeoutMs ?? TIMEOUT_MS;
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), timeoutMs);
    const signals = call.signal ? [late.signal, call.signal] : [late.signal];
    try {
      return await act(AbortSignal.any(signals));
    } catch (error) {
      if (error instanceof KubernetesError) throw error;
      const why = late.signal.aborted ? `no answer within ${timeoutMs / 1000} s` : messageOf(error);
      throw new KubernetesError("unavailable", `API server ${access.url}: ${why}${REMEDY}`, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  return {
    namespace: access.namespace,
    call: (call) =>
      timed(call, async (signal) => {
        const answer = await open(call, signal);
        const text = await textOf(answer);
        if (isSuccess(answer)) return text === "" ? undefined : parsed(text, call);
        throw refused(call, answer, text);
      }),
    stream: async (call) => {
      const end = new AbortController(); // outlives `timed`: cuts the stream, not only its beginning
      call.signal?.addEventListener("abort", () => end.abort(), { once: true });
      const answer = await timed(call, (signal) => {
        signal.addEventListener("abort", () => end.abort(), { once: true });
        return open(call, end.signal);
      });
      if (isSuccess(answer)) return answer;
      throw refused(call, answer, await timed(call, () => textOf(answer)));
    },
    close: () => agent.destroy(),
  };
}

/**
 * A list, which always comes in pages, is asked for as such. A watch must not be: the API server would end it at its first event,
 * which is no list, without a word.
 */
const metadataOf = ({ query }: Call): string =>
  `application/json;as=PartialObjectMetadata${query?.limit === undefined ? "" : "List"};g=meta.k8s.io;v=v1,application/json`;

const isSuccess = ({ statusCode = 500 }: IncomingMessage): boolean => statusCode < 300;

function search(query: Call["query"] = {}): string {
  const pairs = Object.entries(query).filter((pair): pair is [string, string] => pair[1] !== undefined);
  return pairs.length > 0 ? `?${new URLSearchParams(pairs)}` : "";
}

async function textOf(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BYTES)
      throw new KubernetesError("invalid", `the answer is longer than ${MAX_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function parsed(text: string, call: Call): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new KubernetesError("unavailable", `${nameOf(call)}: the answer is not JSON`, { cause: error });
  }
}

function refused(call: Call, { statusCode = 500, headers }: IncomingMessage, text: string): KubernetesError {
  const status = statusIn(text);
  const retryAfter = headers["retry-after"];
  return refusal(nameOf(call), { ...status, code: statusCode, ...(retryAfter && { retryAfter }) });
}

function statusIn(text: string): Status {
  try {
    const status: unknown = JSON.parse(text);
    return typeof status === "object" && status !== null ? status : {};
  } catch {
    return { message: text.slice(0, 200) }; // a proxy's own words
  }
}

const nameOf = ({ method = "GET", path }: Call): string => `${method} ${path}`;

function messageOf(error: unknown): string {
  const { message, code, errors } = error as Error & { code?: string; errors?: readonly Error[] };
  return message || errors?.map((one) => one.message).join(", ") || code || String(error);
}
