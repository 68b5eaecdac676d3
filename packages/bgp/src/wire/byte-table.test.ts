import { expect, test } from "@jest/globals";
import { ByteTable } from "./byte-table.ts";

const held = (table: ByteTable, code: number, bytes: Uint8Array): number => {
  const number = table.add(code, bytes);
  table.retain(number);
  return number;
};

test("what stands in the table itself is added whole, though the table moves for it, and what it left is given back at once", () => {
  const table = new ByteTable();
  const run = Uint8Array.from({ length: 400 }, (_, i) => i);
  const one = held(table, 1, run);
  const before = table.bytes(one);
  const two = held(table, 2, before); // its 512 bytes do not hold both
  expect([...table.bytes(two)]).toEqual([...run]);
  expect([...table.bytes(one)]).toEqual([...run]);
  expect(before.length).toBe(0); // no collection has to find it
});
