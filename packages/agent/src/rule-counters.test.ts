import { expect, test } from "@jest/globals";
import { Registry } from "prom-client";
import { type Counts, RuleCounters, ruleMetrics, showCounters } from "./rule-counters.ts";

function fake() {
  const world = {
    now: 0,
    readings: 0,
    counts: new Map([["np/a/p/in/0", { packets: 3, bytes: 180 }]]) as Counts,
  };
  const read = async () => {
    world.readings++;
    return world.counts;
  };
  return { world, counters: new RuleCounters(read, () => world.now) };
}

test("whoever asks within five seconds shares a reading", async () => {
  const { world, counters } = fake();
  await Promise.all([counters.counts(), counters.counts()]);
  world.now = 4999;
  expect(showCounters(await counters.counts())).toEqual({ "np/a/p/in/0": { packets: 3, bytes: 180 } });
  expect(world.readings).toBe(1);
  world.now = 5000;
  await counters.counts();
  expect(world.readings).toBe(2);
});

test("a reading that failed is tried anew", async () => {
  let readings = 0;
  const failing = async () => {
    if (++readings === 1) throw new Error("no iptables-save");
    return new Map();
  };
  const counters = new RuleCounters(failing, () => 0);
  await expect(counters.counts()).rejects.toThrow("no iptables-save");
  expect(await counters.counts()).toEqual(new Map());
});

test("metrics are what the kernel has now: a rule that went has no series", async () => {
  const { world, counters } = fake();
  const registry = new Registry();
  ruleMetrics(counters, registry);
  const lines = async () =>
    (await registry.metrics()).split("\n").filter((line) => line.startsWith("margay"));
  expect(await lines()).toEqual([
    'margay_agent_rule_packets_total{rule="np/a/p/in/0"} 3',
    'margay_agent_rule_bytes_total{rule="np/a/p/in/0"} 180',
  ]);
  world.now = 5000;
  world.counts = new Map([["gnp/q/out/0", { packets: 1, bytes: 60 }]]);
  expect(await lines()).toEqual([
    'margay_agent_rule_packets_total{rule="gnp/q/out/0"} 1',
    'margay_agent_rule_bytes_total{rule="gnp/q/out/0"} 60',
  ]);
});
