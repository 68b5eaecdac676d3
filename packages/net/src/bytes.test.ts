import { expect, test } from "@jest/globals";
import fc from "fast-check";
import { parseAddress } from "./address.ts";
import { Reader, ShortInput, Writer } from "./bytes.ts";

test("what is written is read back, through any growth of the buffer", () => {
  fc.assert(
    fc.property(
      fc.nat(255),
      fc.nat(65535),
      fc.nat(0xffffffff),
      fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      fc.uint8Array(),
      (a, b, c, d, e) => {
        const r = new Reader(new Writer(1).u8(a).u16(b).u32(c).u64(d).bytes(e).done());
        expect([r.u8(), r.u16(), r.u32(), r.u64(), r.rest()]).toEqual([a, b, c, d, e]);
        expect(r.left).toBe(0);
      },
    ),
  );
});

test("a read past the window throws, and the window hides what lies behind it", () => {
  const r = new Reader(new Uint8Array([1, 2, 3, 4]));
  const inner = r.window(2);
  expect(inner.u16()).toBe(0x0102);
  expect(() => inner.u8()).toThrow(ShortInput);
  expect(r.u16()).toBe(0x0304);
  expect(() => r.bytes(1)).toThrow("1 bytes wanted, 0 left");
});

test("sized bodies carry their own length, nested, and refuse what does not fit", () => {
  const w = new Writer().sized16((outer) =>
    outer.u8(9).sized8((inner) => inner.address(parseAddress("10.0.0.1"))),
  );
  expect([...w.done()]).toEqual([0, 6, 9, 4, 10, 0, 0, 1]);
  expect(() => new Writer().sized8((x) => x.bytes(new Uint8Array(256)))).toThrow(RangeError);
});
