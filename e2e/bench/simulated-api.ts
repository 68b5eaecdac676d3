import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { KubernetesObject } from "@margay/kubernetes";

/** Objects of one kind, made when they are asked for: a hundred thousand pods take no room. */
export interface Simulated {
  readonly count: number;
  readonly object: (i: number) => KubernetesObject;
}

export interface SimulatedApi {
  readonly url: string;
  /** Tells those who watch `path`. */
  tell(path: string, type: "ADDED" | "MODIFIED" | "DELETED", object: KubernetesObject): void;
  close(): Promise<void>;
}

/** An API server that lists in pages and tells of changes; what is written to it is acknowledged and forgotten. */
export async function simulatedApi(kinds: Readonly<Record<string, Simulated>>): Promise<SimulatedApi> {
  const watches = new Map<string, Set<ServerResponse>>();
  const server = createServer((request, response) => {
    request.resume();
    const url = new URL(request.url ?? "/", "http://local");
    if (request.method !== "GET") return answer(response, { metadata: { resourceVersion: "2" } });
    const kind = kinds[url.pathname];
    if (!kind && /\/(leases)\//.test(url.pathname))
      return answer(response, { kind: "Status", code: 404 }, 404);
    const { count, object } = kind ?? { count: 0, object: () => ({ metadata: { name: "" } }) };
    if (url.searchParams.get("watch")) return hold(url.pathname, response);
    const from = Number(url.searchParams.get("continue") ?? 0);
    const to = Math.min(count, from + Number(url.searchParams.get("limit") ?? count));
    const items = Array.from({ length: to - from }, (_, i) => shape(request, object(from + i)));
    const more = to < count && { continue: `${to}` };
    answer(response, { kind: "List", metadata: { resourceVersion: "1", ...more }, items });
  });
  function hold(path: string, response: ServerResponse): void {
    response.writeHead(200, { "content-type": "application/json" }).flushHeaders();
    const all = watches.get(path) ?? new Set();
    watches.set(path, all.add(response));
    response.on("close", () => all.delete(response));
  }
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    tell: (path, type, object) => {
      for (const response of watches.get(path) ?? []) response.write(`${JSON.stringify({ type, object })}\n`);
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** PartialObjectMetadata where only that is asked for. */
const shape = ({ headers }: IncomingMessage, object: KubernetesObject): object =>
  headers.accept?.includes("PartialObjectMetadata")
    ? { apiVersion: "meta.k8s.io/v1", kind: "PartialObjectMetadata", metadata: object.metadata }
    : object;

function answer(response: ServerResponse, body: object, status = 200): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}
