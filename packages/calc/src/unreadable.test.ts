import { expect, test } from "@jest/globals";
import { keyOf } from "@margay/api";
import { parseAddress } from "@margay/net";
import { Calc, type Update } from "./calc.ts";
import { felix, gnetset, gnp, gone, namespace, netset, np, pod } from "./testing/resources.ts";
import { forward } from "./verdict.ts";

/** a/web (10.0.0.1) is asked whether 192.0.2.1 reaches it: the one that the value which cannot be read would name. */
const base = [
  namespace("a", { team: "blue" }),
  namespace("b", { team: "red" }),
  pod("a/web", ["10.0.0.1"], { labels: { app: "web" } }),
  pod("b/client", ["10.0.0.3"], { labels: { app: "client" }, node: "n2" }),
];
const bad = gnetset("bad", { role: "bad" }, ["192.0.2.0/24"]);
const corrupt = ({ key }: Update): Update => ({ key, corrupt: "it is not JSON" });

function calcWith(...updates: Update[]): Calc {
  const calc = new Calc("n1");
  calc.apply([...base, ...updates]);
  return calc;
}

function reaches(calc: Calc, from = "192.0.2.1"): boolean {
  const packet = { source: parseAddress(from), destination: parseAddress("10.0.0.1"), protocol: 6 };
  return forward(calc.state(), packet, { toInterface: "caliaweb" }).verdict === "allow";
}

/** One rule before one that allows all. */
const policy = (rule: object) => gnp("p", { selector: "app == 'web'", ingress: [rule, { action: "Allow" }] });
const only = (rule: object) => gnp("p", { selector: "app == 'web'", ingress: [rule] });
const from = (source: object, action = "Deny") => ({ action, source });

const WEP = { key: keyOf("WorkloadEndpoint", "x", "b") };
const PROFILE = { key: keyOf("Profile", "kns.b") };

test.each<[why: string, policy: Update, unreadable: Update, closed: boolean]>([
  ["a Deny of a set that may be the one", policy(from({ selector: "role == 'bad'" })), bad, true],
  ["an Allow to all but those", only(from({ notSelector: "role == 'bad'" }, "Allow")), bad, true],
  ["a Pass for a set", policy(from({ selector: "role == 'bad'" }, "Pass")), bad, true],
  ["a Pass for all but those", policy(from({ notSelector: "role == 'bad'" }, "Pass")), bad, true],
  [
    "an Allow of a set is narrower, and closed enough",
    only(from({ selector: "role == 'bad'" }, "Allow")),
    bad,
    false,
  ],
  [
    "a Deny of all but those is wider",
    policy(from({ notSelector: "role == 'bad'", nets: ["198.51.100.0/24"] })),
    bad,
    false,
  ],
  ["a Log decides nothing", policy(from({ selector: "role == 'bad'" }, "Log")), bad, false],
  ["a set without namespace is in none", policy(from({ namespaceSelector: "team == 'red'" })), bad, false],
  ["nor under any service account", policy(from({ serviceAccounts: { selector: "x == 'y'" } })), bad, false],
  [
    "a set has no ports",
    policy({ action: "Deny", protocol: "TCP", destination: { ports: ["http"] } }),
    bad,
    false,
  ],
  ["global() means just such sets", policy(from({ namespaceSelector: "global()" })), bad, true],
  [
    "a set of a namespace that the rule does not mean",
    policy(from({ selector: "role == 'bad'", namespaceSelector: "team == 'red'" })),
    netset("a/bad", {}, []),
    false,
  ],
  [
    "a set of a namespace that it does mean",
    policy(from({ selector: "role == 'bad'", namespaceSelector: "team == 'red'" })),
    netset("b/bad", {}, []),
    true,
  ],
  [
    "a rule of a namespaced policy does not reach sets of others",
    np("a/p", {
      selector: "app == 'web'",
      ingress: [from({ selector: "role == 'bad'" }), { action: "Allow" }],
    }),
    netset("b/bad", {}, []),
    false,
  ],
  ["an endpoint may bear any label", policy(from({ selector: "role == 'bad'" })), WEP, true],
  ["and any named port", policy({ action: "Deny", protocol: "TCP", source: { ports: ["http"] } }), WEP, true],
  [
    "but not on the side that is an endpoint known here",
    policy({ action: "Deny", protocol: "TCP", destination: { ports: ["http"] } }),
    WEP,
    false,
  ],
  [
    "but it is in its namespace",
    policy(from({ selector: "projectcalico.org/namespace == 'a'" })),
    WEP,
    false,
  ],
  [
    "a profile's bearers may bear any label",
    policy(from({ namespaceSelector: "team == 'red'" })),
    PROFILE,
    true,
  ],
  [
    "a profile says nothing of others",
    policy(from({ selector: "projectcalico.org/namespace == 'a'" })),
    PROFILE,
    false,
  ],
])("%s: closed %s", (_why, rules, unreadable, closed) => {
  const readable = calcWith(rules, { ...unreadable });
  readable.state();
  const [fresh, lived] = [calcWith(rules, corrupt(unreadable)), readable];
  lived.apply([corrupt(unreadable)]);
  const [policy] = [...fresh.state().policies.values()];
  expect(policy?.problem !== undefined).toBe(closed);
  if (closed) {
    expect(reaches(fresh, "198.51.100.9")).toBe(false);
    expect(fresh.state().problems).toContainEqual({
      subject: policy?.id,
      why: expect.stringContaining(`${unreadable.key} cannot be read, and may be meant by `),
    });
  }
  expect(lived.state()).toEqual(fresh.state());
});

test("every other policy stays enforced, and the closed one comes back when the set is readable or gone", () => {
  const other = gnp("other", {
    selector: "app == 'web'",
    order: 1,
    ingress: [from({ nets: ["198.51.100.0/24"] }, "Allow")],
  });
  const deny = gnp("p", {
    selector: "app == 'web'",
    order: 2,
    ingress: [from({ selector: "role == 'bad'" }), { action: "Allow" }],
  });
  const calc = calcWith(other, deny, bad);
  const before = calc.state();
  expect([reaches(calc, "198.51.100.9"), reaches(calc, "10.9.9.9"), reaches(calc)]).toEqual([
    true,
    true,
    false,
  ]);
  calc.apply([corrupt(bad)]);
  expect([reaches(calc, "198.51.100.9"), reaches(calc, "10.9.9.9"), reaches(calc)]).toEqual([
    true,
    false,
    false,
  ]);
  expect(calc.state().policies.get("gnp/other")).toBe(before.policies.get("gnp/other"));
  expect(calc.state()).toBe(calc.state());
  calc.apply([bad]);
  expect(calc.state().policies).toEqual(before.policies);
  expect(calc.state().problems).toEqual([]);
  calc.apply([corrupt(bad), gone(bad)]);
  expect([reaches(calc, "10.9.9.9"), reaches(calc)]).toEqual([true, true]);
});

test("pods whose namespace's profile cannot be read are in no set that rules allow", () => {
  const allow = only(from({ namespaceSelector: "team != 'blue'" }, "Allow"));
  const calc = calcWith(allow);
  expect(reaches(calc, "10.0.0.3")).toBe(true);
  calc.apply([corrupt(PROFILE)]);
  expect(reaches(calc, "10.0.0.3")).toBe(false);
  calc.apply([namespace("b", { team: "red" })]);
  expect(reaches(calc, "10.0.0.3")).toBe(true);
});

test("settings of which one field cannot be read keep the others, and are named", () => {
  const readable = felix("default", { vxlanVNI: 7 });
  const { config, problems } = calcWith({ ...readable, corrupt: "it has a field that is wrong" }).state();
  expect(config.vxlanVNI).toBe(7);
  expect(problems).toEqual([{ subject: readable.key, why: "it has a field that is wrong" }]);
});
