import { expect, test } from "@jest/globals";
import { kept } from "./result.ts";
import { type Rates, shape } from "./throughput-shape.ts";

const rates = (bytes: number, host: number, routed: number, vxlan: number): Rates => ({
  ...{ bytes, host, routed, vxlan },
});

test.each<[why: string, curve: Rates[], missed: string[]]>([
  ["as it should be", [rates(1, 10, 9, 8), rates(2, 20, 19, 16)], []],
  ["VXLAN carries more", [rates(1, 10, 8, 9)], ["throughput: VXLAN of routed 1 B"]],
  [
    "routed falls where the host does not",
    [rates(1, 10, 10, 5), rates(2, 20, 8.5, 5)],
    ["throughput: dip of routed beside host 2 B"],
  ],
  [
    "routed falls more than the host does",
    [rates(1, 10, 10, 5), rates(2, 9, 8, 5)],
    ["throughput: dip of routed beside host 2 B"],
  ],
  ["routed rises, by less than the host", [rates(1, 10, 10, 5), rates(2, 20, 14, 5)], []],
  ["routed falls with the host", [rates(1, 20, 20, 5), rates(2, 10, 9.5, 5)], []],
])("%s", (_why, curve, missed) => {
  const found = shape(curve).filter((result) => kept(result) === false);
  expect(found.map(({ benchmark, subject }) => `${benchmark} ${subject}`)).toEqual(missed);
});
