import { expect, test } from "@jest/globals";
import type { LocalEndpoint } from "@margay/calc";
import { packetRateRules } from "./packet-rate.ts";

const config = { pass: "0x20000", deny: ["-j", "DROP"] } as unknown as Parameters<typeof packetRateRules>[1]; // what it reads
const endpoint = (packetRate?: LocalEndpoint["packetRate"]) =>
  ({ interfaceName: "cali1", packetRate }) as unknown as LocalEndpoint; // what it reads

test("no limit, no rule; each direction by its own side of the interface", () => {
  expect(packetRateRules([endpoint()], config)).toEqual([]);
  const rules = packetRateRules([endpoint({ egress: { perSecond: 9, burst: 2 } })], config);
  expect(rules.map(({ match, target }) => [...match, ...target].join(" "))).toEqual([
    "-i cali1 -j MARK --set-xmark 0x0/0x20000",
    "-i cali1 -m limit --limit 9/second --limit-burst 2 -j MARK --set-xmark 0x20000/0x20000",
    "-i cali1 -m mark --mark 0x0/0x20000 -j DROP",
    "-i cali1 -j MARK --set-xmark 0x0/0x20000",
  ]);
  const both = { ingress: { perSecond: 1, burst: 1 }, egress: { perSecond: 1, burst: 1 } };
  expect(packetRateRules([endpoint(both)], config).filter(({ match }) => match[0] === "-o")).toHaveLength(4);
});
