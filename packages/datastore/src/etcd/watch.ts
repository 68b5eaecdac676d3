import type { Etcd3, IEvent, IWatchResponse } from "etcd3";
import { compacted, otherHistory, type Revision, StoreError, type Watch, type WatchEvent } from "../store.ts";
import type { EtcdClient } from "./client.ts";
import { prefixEnd } from "./key-range.ts";

/** grpc's stream as we use it: reading by iteration is what holds a fast server back. */
type Stream = Awaited<ReturnType<Etcd3["watchClient"]["watch"]>> &
  AsyncIterable<IWatchResponse> & { destroy(error: Error): void };

/**
 * One gRPC stream with one watcher on it. It ends with the first trouble and says why; starting anew from the
 * last revision seen is the reader's part (`Syncer`), so that nothing is lost between two layers that both
 * reconnect.
 */
export function etcdWatch(
  client: EtcdClient,
  prefix: string,
  afterRevision: Revision,
  history?: string,
): Watch {
  let stream: Stream | undefined;
  let closed = false;

  async function* read(): AsyncGenerator<readonly WatchEvent[]> {
    let index: number | undefined;
    try {
      const connection = await client.forStream();
      index = connection.index;
      stream = (await connection.etcd.watchClient.watch()) as Stream; // it is a node Duplex
      if (closed) return;
      yield* batches(stream, { prefix, afterRevision, history, timeoutMs: client.timeoutMs });
    } catch (error) {
      if (closed) return;
      if (index !== undefined) client.failed(index, error);
      const explained = client.explain(error, { index: index ?? 0, key: prefix });
      if (explained.code === "unauthorized" || explained.code === "denied") client.forgetToken();
      throw explained;
    } finally {
      end(stream);
    }
  }

  return {
    [Symbol.asyncIterator]: read,
    close() {
      closed = true;
      end(stream);
    },
  };
}

async function* batches(
  stream: Stream,
  from: { prefix: string; afterRevision: Revision; history: string | undefined; timeoutMs: number },
): AsyncGenerator<readonly WatchEvent[]> {
  const key = Buffer.from(from.prefix);
  stream.write({
    create_request: { key, range_end: prefixEnd(key), start_revision: String(from.afterRevision + 1) },
  });
  const silence = () =>
    stream.destroy(new StoreError("unavailable", `etcd did not start the watch within ${from.timeoutMs} ms`));
  const unanswered = setTimeout(silence, from.timeoutMs);
  try {
    for await (const response of stream) {
      clearTimeout(unanswered);
      refuseEnd(response, from);
      if (response.created || response.events.length > 0) yield response.events.map(toEvent);
    }
  } finally {
    clearTimeout(unanswered);
  }
  throw new StoreError("unavailable", "etcd ended the watch: is it running?");
}

/** Throws if the response tells the end of the watch, or that the watch cannot be what was asked for. */
function refuseEnd(
  response: IWatchResponse,
  { afterRevision, history }: { afterRevision: Revision; history: string | undefined },
): void {
  if (Number(response.compact_revision) > 0) throw compacted(afterRevision);
  if (response.canceled)
    throw new Error(response.cancel_reason || "etcd cancelled the watch without a reason");
  if (response.created && history !== undefined && response.header.cluster_id !== history)
    throw otherHistory();
  // a store restored from a backup, or a member far behind: it would stay silent until it gets there
  if (response.created && Number(response.header.revision) < afterRevision) throw compacted(afterRevision);
}

function toEvent({ type, kv }: IEvent): WatchEvent {
  const key = kv.key.toString();
  const revision = Number(kv.mod_revision);
  if (type === "Delete") return { type: "delete", key, revision };
  return { type: "put", entry: { key, value: kv.value.toString(), revision } };
}

/**
 * Half-closed before it is cancelled: otherwise etcd3 takes the cancellation for a failed host and drops its
 * connections.
 */
function end(stream: Stream | undefined): void {
  stream?.end();
  stream?.cancel();
}
