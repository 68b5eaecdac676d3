import { expect, test } from "@jest/globals";
import { ruleIds } from "@margay/calc";
import { shownId } from "@margay/iptables";
import { commentId } from "@margay/nftables";
import { Registry } from "prom-client";
import { type Counts, RuleCounters, ruleMetrics, showCounters, showPolicies } from "./rule-counters.ts";

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
  const lines = async () => (await registry.metrics()).split("\n").filter((line) => line.includes("{rule="));
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

test("counters that cannot be read are no series and one error each; a scrape has all else", async () => {
  const registry = new Registry();
  const unreadable = () => Promise.reject(new Error("no iptables-save"));
  ruleMetrics(new RuleCounters(unreadable, () => 0), registry);
  await registry.metrics();
  const lines = (await registry.metrics()).split("\n").filter((line) => line.startsWith("margay"));
  expect(lines).toEqual(["margay_agent_rule_counter_errors_total 2"]);
});

test("a policy says how many endpoints it is for: workloads, host endpoints, and those that it is staged for", () => {
  const tier = (...policies: string[]) => [{ tier: "default", defaultAction: "deny" as const, policies }];
  const both = (ingress: ReturnType<typeof tier>) => ({ ingress, egress: [] });
  const workload = {
    ...both(tier("gnp/a")),
    staged: both(tier("gnp/a", "staged/gnp/b")),
    profiles: ["kns.x"],
  };
  const [none, host] = [both([]), both(tier("gnp/a"))];
  const hep = { normal: host, forward: host, untracked: none, preDnat: none, profiles: [] };
  const policy = (id: string, more: object = {}): [string, object] => [
    id,
    { id, ingress: [], egress: [], ...more },
  ];
  const state = {
    ...{ endpoints: [workload, { ...workload, staged: undefined }], hostEndpoints: [hep] },
    policies: new Map([policy("gnp/a"), policy("staged/gnp/b", { isStaged: true })]),
    profiles: new Map([["kns.x", policy("profile/kns.x")[1]]]),
  };
  expect(showPolicies(state as never)).toMatchObject([
    { id: "gnp/a", endpoints: 3, staged: undefined },
    { id: "staged/gnp/b", endpoints: 1, staged: true },
    { id: "profile/kns.x", endpoints: 2 },
  ]);
});

test("the kernel holds every id whole: a counter is found by the id that explain names", () => {
  const policy = (end: string) => `staged/np/${"n".repeat(63)}/${"p".repeat(252)}${end}`;
  const ids = ["a", "b"].flatMap((end) => [
    ruleIds.policyRule(policy(end), "egress", 99_999),
    ruleIds.tierDefault("t".repeat(252) + end, "ingress"),
  ]);
  expect(new Set(ids).size).toBe(4);
  expect(ids.map(shownId)).toEqual(ids);
  expect(ids.map(commentId)).toEqual(ids);
});
