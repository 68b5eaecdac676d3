import { expect, test } from "@jest/globals";
import type { NodeState } from "@margay/calc";
import { Registry } from "prom-client";
import { ProblemTeller } from "./problems.ts";

const policy = (id: string, problem?: string) => ({
  ...{ id, ingress: [], egress: [] },
  ...(problem !== undefined && { problem }),
});

/** A state whose only policies are these. */
function stateWith(
  ...policies: ReturnType<typeof policy>[]
): Pick<NodeState, "problems" | "policies" | "profiles"> {
  const problems = policies.flatMap(({ id, problem }) => (problem ? [{ subject: id, why: problem }] : []));
  return { problems, policies: new Map(policies.map((one) => [one.id, one])), profiles: new Map() };
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
