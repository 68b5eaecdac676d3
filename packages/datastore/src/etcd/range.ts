import type { Client, MethodDefinition, ServiceClientConstructor } from "@grpc/grpc-js";
import type { Etcd3, ICallable, IRangeRequest, IRangeResponse, IResponseHeader } from "etcd3";
import type { Entry } from "../store.ts";

/** One page of a listing. */
export interface Page {
  readonly header: IResponseHeader;
  readonly entries: readonly Entry[];
  readonly more: boolean;
  /** As bytes: a foreign key need not be text. */
  readonly lastKey: Buffer;
  /** Of all keys and values. */
  readonly size: number;
}

/**
 * Asks for a page. Of each key only what a listing needs is read: the general way makes objects and texts of every field, and took
 * a large part of an agent's first reading of a large cluster.
 */
export function range(etcd: Etcd3, request: IRangeRequest): Promise<Page> {
  const { client: pool } = etcd.kv as unknown as { client: ICallable<unknown> }; // private in its type alone
  const options = pool.callOptionsFactory;
  const of = { service: "KV", method: "range", params: request, isStream: false } as const;
  return pool.withConnection(
    "KV",
    ({ client, metadata }) =>
      new Promise<Page>((resolve, reject) => {
        const { path, requestSerialize, responseDeserialize } = rangeOf(client);
        const read = (bytes: Buffer) => readPage(bytes, responseDeserialize);
        client.makeUnaryRequest(
          ...([path, requestSerialize, read, request, metadata] as const),
          (typeof options === "function" ? options(of) : options) ?? {},
          (error, page) => (page ? resolve(page) : reject(error)),
        );
      }),
  );
}

/** What the client itself was made from. */
function rangeOf(client: Client): MethodDefinition<IRangeRequest, IRangeResponse> {
  const { service } = client.constructor as ServiceClientConstructor;
  return service.Range as MethodDefinition<IRangeRequest, IRangeResponse>; // it is a client of KV
}

/**
 * RangeResponse and KeyValue of etcd's rpc.proto and kv.proto: tags of protobuf are number << 3 | type.
 *
 *     RangeResponse  header 1, kvs 2, more 3, count 4
 *     KeyValue       key 1, create_revision 2, mod_revision 3, version 4, value 5, lease 6
 */
const TAG = { header: 10, kvs: 18, more: 24, key: 10, modRevision: 24, value: 42 } as const;

/** `readHeader` reads a whole answer: its 64 bits are to be the same text wherever one comes from. */
export function readPage(bytes: Buffer, readHeader: (bytes: Buffer) => IRangeResponse): Page {
  const reader = new Reader(bytes);
  const entries: Entry[] = [];
  let header: Buffer = Buffer.alloc(0);
  let more = false;
  let size = 0;
  while (reader.at < bytes.length) {
    const start = reader.at;
    const tag = reader.varint();
    if (tag === TAG.kvs) {
      const length = reader.varint();
      size += length;
      entries.push(readEntry(reader, reader.at + length));
    } else if (tag === TAG.more) more = reader.varint() !== 0;
    else {
      reader.skip(tag);
      if (tag === TAG.header) header = bytes.subarray(start, reader.at);
    }
  }
  const lastKey = bytes.subarray(...reader.key);
  return { header: readHeader(header).header, entries, more, lastKey, size };
}

function readEntry(reader: Reader, end: number): Entry {
  let [key, value, revision] = ["", "", 0];
  while (reader.at < end) {
    const tag = reader.varint();
    if (tag === TAG.key) {
      key = reader.text();
      reader.key = reader.last;
    } else if (tag === TAG.value) value = reader.text();
    else if (tag === TAG.modRevision) revision = reader.varint();
    else reader.skip(tag);
  }
  return { key, value, revision };
}

/** Throws RangeError at the end of the bytes. */
class Reader {
  at = 0;
  /** Where the last text and the last key began and ended. */
  last: readonly [number, number] = [0, 0];
  key = this.last;
  readonly #bytes: Buffer;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** Up to 2^53: revisions fit, and what does not is skipped. */
  varint(): number {
    for (let value = 0, scale = 1; ; scale *= 128) {
      const byte = this.#bytes.readUInt8(this.at++);
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  }

  text(): string {
    this.last = this.#take(this.varint());
    return this.#bytes.toString("utf8", ...this.last);
  }

  skip(tag: number): void {
    if ((tag & 7) === 0) this.varint();
    else if ((tag & 7) === 2) this.#take(this.varint());
    else throw new RangeError(`etcd's answer has a field of type ${tag & 7}`);
  }

  #take(length: number): readonly [number, number] {
    const start = this.at;
    this.at += length;
    if (this.at > this.#bytes.length) throw new RangeError("etcd's answer ends within a field");
    return [start, this.at];
  }
}
