import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Access } from "../access.ts";
import type { KubernetesObject } from "../objects.ts";
import { type Place, placeOf, selects } from "./requests.ts";

/** A fault for one coming request. */
export interface Fault {
  /** Part of "GET /api/v1/pods?watch=1&…"; absent: any request. */
  readonly on?: string;
  readonly status: number;
  readonly retryAfterSeconds?: number;
}

/** An API server within one process, over real HTTP, with the faults of a real one on demand: for tests. */
export interface MemoryApiServer {
  readonly access: Access;
  /** "GET /api/v1/pods?limit=500", in order. */
  readonly requests: readonly string[];
  /** Creates or replaces; `path` is the collection's, such as /api/v1/pods. */
  put(path: string, object: KubernetesObject): KubernetesObject;
  remove(path: string, name: string): void;
  objects(path: string): KubernetesObject[];
  /** Forgets the history: who watches from before, or is amid the pages of a list, gets 410. */
  compact(): void;
  /** Ends every watch in the middle of a line. */
  cut(): void;
  /** Takes watches but is silent on them from now on, until told otherwise. */
  setSilent(silent: boolean): void;
  /** Every event twice. */
  setRepeating(repeating: boolean): void;
  /** Milliseconds before each answer. */
  setDelay(ms: number): void;
  fail(fault: Fault): void;
  /** Tells every watcher how far history has come. */
  bookmark(): void;
  close(): Promise<void>;
}

interface Event {
  readonly type: string;
  readonly version: number;
  readonly collection: string;
  readonly object: KubernetesObject;
}

interface Watcher {
  readonly place: Place;
  readonly response: ServerResponse;
}

export async function memoryApiServer(): Promise<MemoryApiServer> {
  const collections = new Map<string, Map<string, KubernetesObject>>();
  const history: Event[] = [];
  const watchers = new Set<Watcher>();
  const requests: string[] = [];
  const faults: Fault[] = [];
  let [now, compactedTo, delayMs] = [1, 0, 0];
  let [silent, repeating] = [false, false];

  const collectionOf = (name: string) => {
    const found = collections.get(name) ?? new Map<string, KubernetesObject>();
    collections.set(name, found);
    return found;
  };
  const keyOf = ({ namespace, name }: { namespace?: string | undefined; name: string }) =>
    `${namespace ?? ""}/${name}`;

  function record(type: string, collection: string, object: KubernetesObject): KubernetesObject {
    const versioned = {
      ...object,
      metadata: {
        ...{ uid: `uid-${now + 1}`, creationTimestamp: "2026-01-01T00:00:00Z" },
        ...object.metadata,
        resourceVersion: `${++now}`,
      },
    };
    const event = { type, version: now, collection, object: versioned };
    history.push(event);
    for (const watcher of watchers) tell(watcher, event);
    return versioned;
  }

  function tell({ place, response }: Watcher, { type, collection, object }: Event): void {
    if (silent || collection !== place.collection || !selects(place, object)) return;
    const line = `${JSON.stringify({ type, object: place.metadataOnly ? metadataOf(object) : object })}\n`;
    response.write(repeating ? line + line : line);
  }

  function store(place: Pick<Place, "collection">, object: KubernetesObject): KubernetesObject {
    const objects = collectionOf(place.collection);
    const known = objects.get(keyOf(object.metadata));
    const { uid, creationTimestamp } = known?.metadata ?? {};
    const kept = { ...(uid && { uid }), ...(creationTimestamp && { creationTimestamp }) };
    const metadata = { ...object.metadata, ...kept };
    const written = record(known ? "MODIFIED" : "ADDED", place.collection, { ...object, metadata });
    objects.set(keyOf(written.metadata), written);
    return written;
  }

  function erase(collection: string, key: string): KubernetesObject | undefined {
    const known = collections.get(collection)?.get(key);
    collections.get(collection)?.delete(key);
    return known && record("DELETED", collection, known);
  }

  function list(place: Place, response: ServerResponse): unknown {
    const [version, after = ""] = (place.query.get("continue") ?? "").split(" ");
    if (version && Number(version) < compactedTo) return refuse(response, 410, "Expired");
    const all = [...collectionOf(place.collection)]
      .filter(([key, object]) => key > after && selects(place, object))
      .sort(([a], [b]) => (a < b ? -1 : 1));
    const limit = Number(place.query.get("limit") ?? all.length);
    const page = all.slice(0, limit);
    const last = page.at(-1)?.[0];
    const more = all.length > limit && { continue: `${version || now} ${last}` };
    const items = page.map(([, object]) => (place.metadataOnly ? metadataOf(object) : object));
    answer(response, 200, {
      kind: "List",
      metadata: { resourceVersion: version || `${now}`, ...more },
      items,
    });
  }

  function watch(place: Place, response: ServerResponse): unknown {
    const from = Number(place.query.get("resourceVersion") ?? "0");
    response.writeHead(200, { "content-type": "application/json" });
    response.flushHeaders();
    if (from < compactedTo) {
      const object = { kind: "Status", code: 410, reason: "Expired", message: "too old resource version" };
      response.end(`${JSON.stringify({ type: "ERROR", object })}\n`);
      return;
    }
    const watcher = { place, response };
    watchers.add(watcher);
    response.on("close", () => watchers.delete(watcher));
    for (const event of history) if (event.version > from) tell(watcher, event);
  }

  function change(place: Place, body: KubernetesObject | undefined, response: ServerResponse): unknown {
    const { method, collection, namespace, name = "" } = place;
    const key = keyOf({ namespace, name });
    const known = collectionOf(collection).get(key);
    if (method === "POST" && body) {
      const given = body.metadata as typeof body.metadata & { generateName?: string };
      const metadata = {
        ...given,
        name: given.name ?? `${given.generateName}${now}`,
        ...(namespace && { namespace }),
      };
      if (collectionOf(collection).has(keyOf(metadata))) return refuse(response, 409, "AlreadyExists");
      return answer(response, 201, store(place, { ...body, metadata }));
    }
    if (!known) return refuse(response, 404, "NotFound");
    if (method === "DELETE") return answer(response, 200, erase(collection, key));
    if (method === "GET" || !body) return answer(response, 200, known);
    const wanted = body.metadata?.resourceVersion;
    if (wanted !== undefined && wanted !== known.metadata.resourceVersion)
      return refuse(response, 409, "Conflict");
    const merged = method === "PATCH" ? (merge(known, body) as KubernetesObject) : body;
    answer(response, 200, store(place, place.isStatus ? { ...known, status: merged.status } : merged));
  }

  function serve(place: Place, body: KubernetesObject | undefined, response: ServerResponse): unknown {
    const at = faults.findIndex(({ on }) => on === undefined || place.text.includes(on));
    const fault = at < 0 ? undefined : faults.splice(at, 1)[0];
    if (fault) {
      if (fault.retryAfterSeconds !== undefined)
        response.setHeader("retry-after", `${fault.retryAfterSeconds}`);
      return refuse(response, fault.status, "Injected");
    }
    if (place.name !== undefined || place.method !== "GET") return change(place, body, response);
    if (place.query.get("watch")) return watch(place, response);
    list(place, response);
  }

  const server = createServer(async (request, response) => {
    const place = placeOf(request);
    requests.push(place.text);
    const body = await bodyOf(request);
    if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
    serve(place, body, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const placeAt = (path: string) => ({ collection: path.replace(/\/namespaces\/[^/]+(?=\/)/, "") });

  return {
    access: {
      url: `http://127.0.0.1:${port}`,
      ...{ tls: {}, namespace: "margay-system", authorization: async () => "Bearer test" },
    },
    requests,
    put: (path, object) => store(placeAt(path), object),
    remove: (path, name) => void erase(placeAt(path).collection, name.includes("/") ? name : `/${name}`),
    objects: (path) => [...collectionOf(placeAt(path).collection).values()],
    compact: () => {
      compactedTo = ++now;
      history.length = 0;
    },
    cut: () => {
      for (const { response } of watchers) {
        response.write('{"type":"MODIFIED","object":{"metadata":{"na');
        response.socket?.end();
      }
    },
    setSilent: (value) => {
      silent = value;
    },
    setRepeating: (value) => {
      repeating = value;
    },
    setDelay: (ms) => {
      delayMs = ms;
    },
    fail: (fault) => void faults.push(fault),
    bookmark: () => {
      for (const { response } of watchers)
        response.write(
          `${JSON.stringify({ type: "BOOKMARK", object: { metadata: { name: "", resourceVersion: `${now}` } } })}\n`,
        );
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const metadataOf = ({ metadata }: KubernetesObject): KubernetesObject => ({
  apiVersion: "meta.k8s.io/v1",
  kind: "PartialObjectMetadata",
  metadata,
});

function answer(response: ServerResponse, status: number, body: unknown): unknown {
  return response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

const refuse = (response: ServerResponse, code: number, reason: string): unknown =>
  answer(response, code, { kind: "Status", status: "Failure", code, reason, message: reason });

async function bodyOf(request: IncomingMessage): Promise<KubernetesObject | undefined> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString();
  return text === "" ? undefined : (JSON.parse(text) as KubernetesObject);
}

/** RFC 7386. */
function merge(target: unknown, patch: unknown): unknown {
  if (typeof patch !== "object" || patch === null || Array.isArray(patch)) return patch;
  const base = typeof target === "object" && target !== null && !Array.isArray(target) ? target : {};
  const merged: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete merged[key];
    else merged[key] = merge(merged[key], value);
  }
  return merged;
}
