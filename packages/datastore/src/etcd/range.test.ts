import { createRequire } from "node:module";
import type { MethodDefinition } from "@grpc/grpc-js";
import { expect, test } from "@jest/globals";
import type { IRangeRequest, IRangeResponse } from "etcd3";
import fc from "fast-check";
import { readPage } from "./range.ts";

const require = createRequire(import.meta.url);
const etcd3 = createRequire(require.resolve("etcd3"));
const { loadSync } = etcd3("@grpc/proto-loader");
const proto = require.resolve("etcd3").replace(/lib\/index\.js$/, "proto/rpc.proto");
const general = { keepCase: true, longs: String, enums: String, defaults: true, oneofs: true };
const { Range } = loadSync(proto, general)["etcdserverpb.KV"] as {
  Range: MethodDefinition<IRangeRequest, IRangeResponse>;
};

const bytes = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 300 }).map(Buffer.from),
  fc.uint8Array().map(Buffer.from),
);
const number = fc.oneof(fc.constantFrom("0", "1", "9007199254740991"), fc.nat().map(String));
const kv = fc.record({
  ...{
    key: bytes,
    value: bytes,
    create_revision: number,
    mod_revision: number,
    version: number,
    lease: number,
  },
});
const answer = fc.record({
  header: fc.record({
    cluster_id: fc.constantFrom("7", "14841639068965178418"),
    member_id: number,
    revision: number,
  }),
  ...{ kvs: fc.array(kv, { maxLength: 5 }), more: fc.boolean(), count: number },
});

test("a page is read as etcd3 reads it", () => {
  fc.assert(
    fc.property(answer, (given) => {
      const written = Range.responseSerialize(given as unknown as IRangeResponse);
      const { header, kvs, more } = Range.responseDeserialize(written);
      const entries = kvs.map(({ key, value, mod_revision }) => ({
        ...{ key: key.toString(), value: value.toString(), revision: Number(mod_revision) },
      }));
      const page = readPage(written, Range.responseDeserialize);
      expect({ ...page, size: 0 }).toEqual({
        header,
        entries,
        more,
        lastKey: kvs.at(-1)?.key ?? Buffer.of(),
        size: 0,
      });
    }),
  );
});

test.each([
  ["within a text", Buffer.from([18, 4, 10, 9, 97])],
  ["within a number", Buffer.from([24, 128])],
  ["within a key-value", Buffer.from([18, 9, 10, 1, 97])],
])("an answer that ends %s is refused", (_where, cut) => {
  expect(() => readPage(cut, Range.responseDeserialize)).toThrow(/out of range|ends within a field/);
});
