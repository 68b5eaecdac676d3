import { expect, test } from "@jest/globals";
import type { LocalEndpoint } from "@margay/calc";
import { packetRates } from "./packet-rate.ts";

const config = { pass: "0x20000", deny: ["-j", "DROP"], dispatchAtMost: 8 } as unknown as Parameters<
  typeof packetRates
>[1]["config"]; // what it reads
const context = { config, family: 4 } as const;
const limited = (interfaceName: string, packetRate?: LocalEndpoint["packetRate"]) =>
  ({ interfaceName, packetRate }) as unknown as LocalEndpoint; // what it reads
const said = ({ chains, jumps }: ReturnType<typeof packetRates>) => [
  ...[...chains].map(([key, { rules }]) => [
    key,
    ...rules.map(({ match, target }) => [...match, ...target].join(" ")),
  ]),
  jumps.map(({ target }) => target.join(" ")),
];

test("no limit, no rule; each direction by its own side of the interface", () => {
  expect(said(packetRates([limited("cali1")], context))).toEqual([[]]);
  const rate = { perSecond: 9, burst: 2 };
  expect(said(packetRates([limited("cali1", { egress: rate })], context))).toEqual([
    [
      "filter/margay-rf-cali1",
      "-j MARK --set-xmark 0x0/0x20000",
      "-m limit --limit 9/second --limit-burst 2 -j MARK --set-xmark 0x20000/0x20000",
      "-m mark --mark 0x0/0x20000 -j DROP",
      "-j MARK --set-xmark 0x0/0x20000",
    ],
    ["filter/margay-rate-from", "-i cali1 -g margay-rf-cali1"],
    ["-j margay-rate-from"],
  ]);
  const both = packetRates([limited("cali1", { ingress: rate, egress: rate })], context);
  expect([...both.chains.keys()]).toEqual([
    ...["filter/margay-rf-cali1", "filter/margay-rate-from"],
    ...["filter/margay-rt-cali1", "filter/margay-rate-to"],
  ]);
});

test("a packet is asked as little whether five interfaces are limited or five hundred", () => {
  const many = Array.from({ length: 500 }, (_, n) =>
    limited(`cali${1000 + n}`, { egress: { perSecond: 9, burst: 2 } }),
  );
  const { chains, jumps } = packetRates(many, context);
  expect(jumps).toHaveLength(1);
  expect(Math.max(...[...chains.values()].map(({ rules }) => rules.length))).toBeLessThanOrEqual(10);
});
