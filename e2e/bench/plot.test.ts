import { expect, test } from "@jest/globals";
import { svg } from "./plot.ts";

test("a tenfold is as far to the right everywhere, and twice the value twice as high", () => {
  const text = svg([
    {
      title: "connect (p50, µs), by number of policies",
      lines: [
        [
          "nftables",
          [
            [10, 100],
            [100, 100],
            [1000, 50],
          ],
        ],
      ],
    },
  ]);
  const points =
    /points="([^"]+)"/
      .exec(text)?.[1]
      ?.split(" ")
      .map((point) => point.split(",").map(Number)) ?? [];
  const [[x1 = 0, y1 = 0] = [], [x2 = 0, y2 = 0] = [], [x3 = 0, y3 = 0] = []] = points;
  expect(x3 - x2).toBeCloseTo(x2 - x1);
  expect(y2).toBe(y1);
  const bottom = 34 + 240;
  expect((bottom - y1) / (bottom - y3)).toBeCloseTo(2);
  expect(text).toContain("connect (p50, µs), by number of policies");
});
