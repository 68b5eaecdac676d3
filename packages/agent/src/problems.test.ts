import { expect, test } from "@jest/globals";
import type { NodeState } from "@margay/calc";
import { parseAddress } from "@margay/net";
import { Registry } from "prom-client";
import { ProblemTeller } from "./problems.ts";

const policy = (id: string, problem?: string) => ({
  ...{ id, ingress: [], egress: [] },
  ...(problem !== undefined && { problem }),
});

/** A state whose only policies are these. */
function stateWith(
  ...policies: ReturnType<typeof policy>[]
): Pick<NodeState, "problems" | "policies" | "profiles" | "endpoints"> {
  const problems = policies.flatMap(({ id, problem }) => (problem ? [{ subject: id, why: problem }] : []));
  return {
    endpoints: [],
    problems,
    policies: new Map(policies.map((one) => [one.id, one])),
    profiles: new Map(),
  };
}

test("a closed policy is told once, counted while it lasts, and told when it is over", async () => {
  const told: string[] = [];
  const line = (_fields: object, text: string) => void told.push(text);
  const registry = new Registry();
  const teller = new ProblemTeller({ warn: line, info: line }, registry);
  const closed = async () =>
    (await registry.getSingleMetric("margay_agent_policies_closed")?.get())?.values[0]?.value;
  const broken = stateWith(policy("np/a/p", "there is no tier x"), policy("np/a/q"));
  teller.tell(broken);
  teller.tell(broken);
  expect(told).toEqual(["np/a/p is closed: there is no tier x"]);
  expect(await closed()).toBe(1);
  teller.tell(stateWith(policy("np/a/p"), policy("np/a/q")));
  expect(told.slice(1)).toEqual(["np/a/p is resolved"]);
  expect(await closed()).toBe(0);
});

test("what is in force otherwise than it reads is told as that, and counted", async () => {
  const told: [fields: object, text: string][] = [];
  const line = (fields: object, text: string) => void told.push([fields, text]);
  const registry = new Registry();
  const teller = new ProblemTeller({ warn: line, info: line }, registry);
  const counted = async () =>
    (await registry.getMetricsAsJSON()).map(({ name, values }) => [name, values[0]?.value]);
  const [subject, why] = ["gnp/p", "spec.egress[0].destination.domains of a former version: is for Allow"];
  teller.tell({ ...stateWith(policy("gnp/p")), problems: [{ subject, why, isInForce: true }] });
  expect(told).toEqual([[{ event: "outdated", subject, why }, `gnp/p is in force: ${why}`]]);
  const names = { closed: "margay_agent_policies_closed", problems: "margay_agent_problems" };
  expect(await counted()).toEqual([
    [names.closed, 0],
    [names.problems, 1],
  ]);
  teller.tell(stateWith(policy("gnp/p")));
  expect(await counted()).toContainEqual([names.problems, 0]);
});

test("a floating address that another endpoint has is told once, until somebody else has it", () => {
  const told: string[] = [];
  const line = (_fields: object, text: string) => void told.push(text);
  const teller = new ProblemTeller({ warn: line, info: line }, new Registry());
  const lacking = (by?: string) => {
    const floatingTaken = by === undefined ? [] : [{ external: parseAddress("192.0.2.9"), by }];
    return { ...stateWith(), endpoints: [{ id: "x/b", floatingTaken }] } as unknown as NodeState; // what it reads
  };
  for (const by of ["x/a", "x/a", "x/c", undefined]) teller.tell(lacking(by));
  expect(told).toEqual([
    "x/b does not get the floating address 192.0.2.9: x/a has it",
    "x/b does not get the floating address 192.0.2.9: x/c has it",
  ]);
});
