import { createServer, request, type Server, type ServerResponse } from "node:http";
import { join } from "node:path";

export type Query = Readonly<Record<string, string>>;

/** Answers on the control socket; what it returns is sent as JSON, an error as its message. */
export type ControlHandler = (query: Query) => unknown;

export interface Control {
  /** Registers a path such as "/peers", which shows something. */
  get(path: string, handler: ControlHandler): void;
  /** Registers a path such as "/reset", which does something; never configuration (ADR 0007). */
  post(path: string, handler: ControlHandler): void;
}

/** The socket on which a daemon shows its state, to its own user and root only. */
export const controlSocket = (runDir: string, daemon: string): string => join(runDir, `${daemon}.sock`);

/** The window for the CLI, open to root and the daemon's user: HTTP+JSON, so that `curl --unix-socket` works too. */
export class ControlServer implements Control {
  readonly #handlers = new Map<string, ControlHandler>();
  readonly server: Server = createServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://localhost");
    const handler = this.#handlers.get(`${request.method} ${url.pathname}`);
    if (handler === undefined)
      return answer(response, 404, {
        error: `no ${request.method} ${url.pathname}`,
        paths: [...this.#handlers.keys()].map((key) => key.replace(/^GET /, "")),
      });
    const answering = (async () => handler(Object.fromEntries(url.searchParams)))();
    answering.then(
      (value) => answer(response, 200, value ?? null),
      (error: unknown) =>
        answer(response, 500, { error: error instanceof Error ? error.message : String(error) }),
    );
  });

  get(path: string, handler: ControlHandler): void {
    this.#handlers.set(`GET ${path}`, handler);
  }

  post(path: string, handler: ControlHandler): void {
    this.#handlers.set(`POST ${path}`, handler);
  }
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(`${JSON.stringify(body)}\n`);
}

/** Why a daemon's state could not be read. */
export class ControlError extends Error {
  override readonly name = "ControlError";
  readonly code: "not-running" | "forbidden" | "no-answer" | "refused";

  constructor(code: ControlError["code"], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

/** How long a daemon may take to answer. */
const TIMEOUT_MS = 10_000;

/** What the daemon of this node answers to GET `path` (with its query). Throws `ControlError`. */
export const controlGet = (runDir: string, daemon: string, path: string): Promise<unknown> =>
  ask({ runDir, daemon, path, method: "GET" });

/** Has the daemon of this node do what POST `path` (with its query) means; its answer. Throws `ControlError`. */
export const controlPost = (runDir: string, daemon: string, path: string): Promise<unknown> =>
  ask({ runDir, daemon, path, method: "POST" });

interface Question {
  readonly runDir: string;
  readonly daemon: string;
  readonly path: string;
  readonly method: "GET" | "POST";
}

async function ask({ runDir, daemon, path, method }: Question): Promise<unknown> {
  const socketPath = controlSocket(runDir, daemon);
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
  // No agent: a connection that it keeps may lead to a daemon that has been replaced.
  const options = { socketPath, path, method, agent: false, signal: AbortSignal.timeout(TIMEOUT_MS) };
  const question = request(options, (response) => {
    let text = "";
    response.setEncoding("utf8").on("data", (part) => (text += part));
    response.on("error", reject).on("end", () => resolve({ status: response.statusCode ?? 0, text }));
  });
  question.on("error", reject).end();
  const { status, text } = await promise.catch((error: NodeJS.ErrnoException) => {
    throw unreachable(error, { daemon, socketPath });
  });
  const body: unknown = JSON.parse(text);
  if (status === 200) return body;
  throw new ControlError("refused", `${daemon}: ${(body as { error: string }).error}`); // the server's own shape, above
}

function unreachable(
  error: NodeJS.ErrnoException,
  { daemon, socketPath }: { daemon: string; socketPath: string },
): ControlError {
  switch (error.code) {
    case "ENOENT":
    case "ECONNREFUSED":
      return new ControlError(
        "not-running",
        `margay ${daemon} is not running here (nobody listens on ${socketPath}): start it, or say where its sockets are with --run-dir`,
        error,
      );
    case "EACCES":
    case "EPERM":
      return new ControlError(
        "forbidden",
        `${socketPath} is open to the daemon's user and root only: try sudo`,
        error,
      );
    default:
      return new ControlError(
        "no-answer",
        `margay ${daemon} does not answer on ${socketPath}: ${error.message}`,
        error,
      );
  }
}
