import { createServer, get, type Server, type ServerResponse } from "node:http";
import { join } from "node:path";

export type Query = Readonly<Record<string, string>>;

/** Answers a GET on the control socket; what it returns is sent as JSON, an error as its message. */
export type ControlHandler = (query: Query) => unknown;

export interface Control {
  /** Registers a path such as "/peers". */
  get(path: string, handler: ControlHandler): void;
}

/** The socket on which a daemon shows its state, to its own user and root only. */
export const controlSocket = (runDir: string, daemon: string): string => join(runDir, `${daemon}.sock`);

/** The read-only window for the CLI: HTTP+JSON, so that `curl --unix-socket` works too. */
export class ControlServer implements Control {
  readonly #handlers = new Map<string, ControlHandler>();
  readonly server: Server = createServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://localhost");
    const handler = request.method === "GET" ? this.#handlers.get(url.pathname) : undefined;
    if (handler === undefined)
      return answer(response, 404, {
        error: `no ${request.method} ${url.pathname}`,
        paths: [...this.#handlers.keys()],
      });
    const answering = (async () => handler(Object.fromEntries(url.searchParams)))();
    answering.then(
      (value) => answer(response, 200, value ?? null),
      (error: unknown) =>
        answer(response, 500, { error: error instanceof Error ? error.message : String(error) }),
    );
  });

  get(path: string, handler: ControlHandler): void {
    this.#handlers.set(path, handler);
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
export async function controlGet(runDir: string, daemon: string, path: string): Promise<unknown> {
  const socketPath = controlSocket(runDir, daemon);
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
  const request = get({ socketPath, path, signal: AbortSignal.timeout(TIMEOUT_MS) }, (response) => {
    let text = "";
    response.setEncoding("utf8").on("data", (part) => (text += part));
    response.on("error", reject).on("end", () => resolve({ status: response.statusCode ?? 0, text }));
  });
  request.on("error", reject);
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
