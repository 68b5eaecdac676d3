/**
 * The first key after all keys with this prefix: what etcd wants as `range_end`. An empty prefix means every
 * key.
 */
export function prefixEnd(prefix: Buffer): Buffer {
  const last = prefix.findLastIndex((byte) => byte < 0xff);
  if (last < 0) return Buffer.from([0]);
  const end = Buffer.from(prefix.subarray(0, last + 1));
  end[last] = (prefix[last] ?? 0) + 1;
  return end;
}

/** The first key after this one. */
export const keyAfter = (key: Buffer): Buffer => Buffer.concat([key, Buffer.from([0])]);
