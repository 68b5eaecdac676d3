import { createServer, request, type Server } from "node:http";
import { text } from "node:stream/consumers";
import { LabError, type LabErrorCode } from "./errors.ts";

/** One function per thing a client may ask of the supervisor. */
type Methods = { readonly [name: string]: (params: never) => unknown };
type Params<M extends Methods, K extends keyof M> = Parameters<M[K]>[0];
type Result<M extends Methods, K extends keyof M> = Awaited<ReturnType<M[K]>>;

/** JSON over HTTP on a unix socket: POST /<method>. Resolves when listening. Errors go to the caller with their code. */
export function serve(socket: string, methods: Methods): Promise<Server> {
  const server = createServer(async (incoming, outgoing) => {
    const answer = (status: number, body: unknown) => {
      outgoing.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body ?? null));
    };
    try {
      const method = methods[incoming.url?.slice(1) ?? ""];
      if (!method)
        throw new LabError("invalid", `the lab has no method ${incoming.url}; is it of another version?`);
      answer(200, await method(JSON.parse((await text(incoming)) || "null") as never));
    } catch (error) {
      const { code = "failed", message } = error as { code?: string; message: string };
      answer(500, { code, message });
    }
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject).listen(socket, () => resolve(server));
  });
}

/** Calls a method of a running lab. LabError as the lab threw it, or "not-running" when nobody answers. */
export function call<M extends Methods>(socket: string) {
  return <K extends keyof M & string>(method: K, params: Params<M, K>): Promise<Result<M, K>> =>
    new Promise((resolve, reject) => {
      const gone = (error: Error) =>
        reject(new LabError("not-running", `the lab does not answer: ${error.message}`, { cause: error }));
      const outgoing = request({ socketPath: socket, method: "POST", path: `/${method}` }, (incoming) => {
        text(incoming).then((body) => {
          const value = JSON.parse(body) as { code: LabErrorCode; message: string };
          if (incoming.statusCode === 200) resolve(value as Result<M, K>);
          else reject(new LabError(value.code, value.message));
        }, gone);
      });
      outgoing.once("error", gone).end(JSON.stringify(params ?? null));
    });
}
