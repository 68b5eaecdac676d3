import { describe, expect, test } from "@jest/globals";
import { encode, parse } from "@margay/api";
import { resourceOf } from "@margay/datastore";
import { Expected } from "./expected.ts";

const KEY = "/margay/v1/workloadendpoints/shop/n1-k8s-web-eth0";
const value = (address: string): string =>
  encode(
    parse({
      apiVersion: "margay.dev/v1",
      kind: "WorkloadEndpoint",
      metadata: { name: "n1-k8s-web-eth0", namespace: "shop" },
      spec: {
        ...{ orchestrator: "k8s", node: "n1", pod: "web", endpoint: "eth0", interfaceName: "cali1" },
        ipNetworks: [address],
      },
    }).resource,
  );
const entry = (text: string) => ({ key: KEY, value: text, revision: 7 });
const expecting = (): Expected => {
  const expected = new Expected();
  expected.put(KEY, value("10.0.0.1/32"));
  return expected;
};

test("what is expected has no route, until the datastore has spoken", () => {
  const expected = expecting();
  expect([...expected.interfaces()]).toEqual(["cali1"]);
  const written = entry(value("10.0.0.1/32"));
  expect(expected.confirms({ key: KEY, entry: written })).toBe(true);
  expect([...expected.interfaces()]).toEqual([]);
  expect(resourceOf(written).metadata.resourceVersion).toBe("7");
});

describe("whatever else the datastore says of the key is news, and so is all that follows", () => {
  test.each([
    ["another value", { key: KEY, entry: entry(value("10.0.0.2/32")) }],
    ["it is gone: an earlier pod of that name, say", { key: KEY }],
  ])("%s", (_why, update) => {
    const expected = expecting();
    expect(expected.confirms(update)).toBe(false);
    expect([...expected.interfaces()]).toEqual(["cali1"]); // the pass under way may have it still
    expected.passBegins();
    expect([...expected.interfaces()]).toEqual([]);
    expect(expected.confirms({ key: KEY, entry: entry(value("10.0.0.1/32")) })).toBe(false);
    expect(expected.withdraw(KEY)).toBeUndefined();
  });
});

test("withdrawn: calc is told that it is gone, once", () => {
  const expected = expecting();
  expect(expected.withdraw(KEY)).toEqual({ key: KEY });
  expect(expected.withdraw(KEY)).toBeUndefined();
});

test("withdrawn: it has no route in the pass under way, and counts for none that begins later", () => {
  const expected = expecting();
  expected.withdraw(KEY);
  expect([...expected.interfaces()]).toEqual(["cali1"]);
  expected.passBegins();
  expect([...expected.interfaces()]).toEqual([]);
});

test("other addresses are expected instead: the pass under way, which may have the first, makes no route when they are confirmed", () => {
  const expected = expecting();
  expected.put(KEY, value("10.0.0.2/32"));
  expect(expected.confirms({ key: KEY, entry: entry(value("10.0.0.2/32")) })).toBe(true);
  expect([...expected.interfaces()]).toEqual(["cali1"]);
  expected.passBegins();
  expect([...expected.interfaces()]).toEqual([]);
});
