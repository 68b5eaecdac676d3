import { expect, test } from "@jest/globals";
import { type AnyResource, keyOf, parse } from "@margay/api";
import { Calc } from "@margay/calc";
import { render } from "./index.ts";

const resource = (kind: string, name: string, spec: object): AnyResource =>
  parse({ apiVersion: "margay.dev/v1", kind, metadata: { name, namespace: "a" }, spec }).resource;
const pod = (name: string, address: string) =>
  resource("WorkloadEndpoint", name, {
    ...{ orchestrator: "k8s", node: "n1", pod: name, endpoint: "eth0", interfaceName: `cali${name}` },
    ...{ ipNetworks: [`${address}/32`], profiles: [] },
  });
const policy = (name: string) =>
  resource("NetworkPolicy", name, { ingress: [{ action: "Allow", protocol: "TCP" }] });

/** Rules of each chain towards pods `a` and `b`, with so many policies on both. */
function rulesWith(policies: number) {
  const names = Array.from({ length: policies }, (_, i) => `p${i}`);
  const all = [pod("a", "10.0.0.1"), pod("b", "10.0.0.2"), ...names.map(policy)];
  const calc = new Calc("n1");
  calc.apply(
    all.map((value) => ({ key: keyOf(value.kind, value.metadata.name, value.metadata.namespace), value })),
  );
  const { chains4 } = render(calc.state());
  const count = (name: string) => chains4.get(`filter/margay-${name}`)?.rules.length;
  const groups = [...chains4.keys()].filter((key) => key.startsWith("filter/margay-gi-"));
  return {
    a: count("tw-calia"),
    b: count("tw-calib"),
    groups: groups.map((key) => chains4.get(key)?.rules.length),
  };
}

test("a pod is as few rules with a hundred policies as with two, and those of its replica are the same", () => {
  expect(rulesWith(2)).toEqual({ a: 8, b: 8, groups: [4] });
  expect(rulesWith(100)).toEqual({ a: 8, b: 8, groups: [200] });
});

test("one policy is no group", () => {
  expect(rulesWith(1)).toEqual({ a: 8, b: 8, groups: [] });
});
