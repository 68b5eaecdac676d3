import { describe, expect, test } from "@jest/globals";
import { decode, keyOf } from "@margay/api";
import { formatPrefix, parseAddress } from "@margay/net";
import { Calc, type Update } from "./calc.ts";
import { explain } from "./explain.ts";
import { placeOf } from "./place.ts";
import { survey } from "./survey.ts";
import { affinity, felix, gnp, gone, host, namespace, pod, pool, slice } from "./testing/resources.ts";
import { verdict } from "./verdict.ts";

const base = [
  ...[host("n1", "172.20.0.11/24"), namespace("a"), pool("p4", { cidr: "10.0.0.0/16" })],
  ...[affinity("n1", "10.0.0.0/26"), pod("a/web", ["10.0.0.1", "fd00::1"], { labels: { app: "web" } })],
];
const to = (...domains: string[]) =>
  gnp("p", {
    selector: "app == 'web'",
    types: ["Egress"],
    egress: [{ action: "Allow", destination: { domains } }],
  });

function calcWith(...updates: readonly Update[]): Calc {
  const calc = new Calc("n1");
  calc.apply([...base, ...updates]);
  calc.state();
  return calc;
}

/** As the datastore has it, whatever `parse` would say of it now. */
function stored(name: string, spec: object): Update {
  const document = { apiVersion: "margay.dev/v1", kind: "GlobalNetworkPolicy", metadata: { name }, spec };
  const key = keyOf("GlobalNetworkPolicy", name);
  return { ...gnp(name, {}), value: decode(key, JSON.stringify(document)) };
}

const learn = (calc: Calc, domain: string, ...addresses: string[]) =>
  calc.setDomain(domain, addresses.map(parseAddress));

function reaches(calc: Calc, address: string): boolean {
  const destination = parseAddress(address);
  const source = parseAddress(destination.family === 4 ? "10.0.0.1" : "fd00::1");
  const packet = { source, destination, protocol: 6, sourcePort: 40_000, destinationPort: 443 };
  return verdict(calc.state(), packet, { endpoint: "a/web", direction: "egress" }).verdict === "allow";
}

describe("what a name means (network-policy-api, DomainName)", () => {
  test.each<[pattern: string, domain: string, isMeant: string | undefined]>([
    ["kubernetes.io", "kubernetes.io", "in full"],
    ["Kubernetes.IO.", "kubernetes.io", "in full"],
    ["kubernetes.io", "www.kubernetes.io", undefined],
    ["kubernetes.io", "my-kubernetes.io", undefined],
    ["blog.kubernetes.io", "kubernetes.io", undefined],
    ["*.kubernetes.io", "www.kubernetes.io", "by wildcard"],
    ["*.kubernetes.io", "latest.blog.kubernetes.io", "by wildcard"],
    ["*.kubernetes.io", "kubernetes.io", undefined],
    ["*.kubernetes.io", "my-kubernetes.io", undefined],
    ["*.kubernetes.io", "wikipedia.org", undefined],
  ])("%s: is %s meant?", (pattern, domain, isMeant) => {
    const calc = calcWith(to("other.example", pattern));
    expect(calc.domainMeant(domain)).toBe(isMeant);
    learn(calc, domain, "192.0.2.1", "2001:db8::1");
    expect([reaches(calc, "192.0.2.1"), reaches(calc, "2001:db8::1")]).toEqual(
      isMeant ? [true, true] : [false, false],
    );
  });
});

test("an address is allowed as long as any domain of the rule has it", () => {
  const calc = calcWith(to("a.example", "*.w.example"));
  learn(calc, "a.example", "192.0.2.1");
  learn(calc, "x.w.example", "192.0.2.1", "192.0.2.2");
  learn(calc, "a.example");
  expect(reaches(calc, "192.0.2.1")).toBe(true);
  learn(calc, "x.w.example", "192.0.2.2");
  expect([reaches(calc, "192.0.2.1"), reaches(calc, "192.0.2.2")]).toEqual([false, true]);
});

test("an address more is a set member more: nothing else changes", () => {
  const calc = calcWith(to("a.example"));
  const before = calc.state();
  learn(calc, "a.example", "192.0.2.1");
  const { sets, problems, ...others } = calc.state();
  expect(problems).toEqual([]);
  for (const [part, value] of Object.entries(others)) expect(value).toBe(before[part as keyof typeof others]);
  expect(sets).not.toBe(before.sets);
  learn(calc, "a.example", "192.0.2.1");
  expect(calc.state().sets).toBe(sets);
});

describe("who is believed", () => {
  const resolversOf = (...updates: readonly Update[]) => {
    const { resolvers, sets } = calcWith(...updates).state();
    return (
      resolvers && [
        ...resolvers.nets.map(formatPrefix),
        ...resolvers.sets.flatMap((id) => [...(sets.get(id)?.members[4] ?? ["no such set"])]),
      ]
    );
  };
  const dns = slice("kube-system/kube-dns", ["10.0.9.53"], [53]);
  const own = slice("ns/dns", ["10.0.9.54"], [53]);

  test("nobody where no rule names a domain", () => {
    expect(resolversOf(dns)).toBeUndefined();
  });
  test("the pods behind the cluster's DNS Service, unless said", () => {
    expect(resolversOf(dns, to("a.example"))).toEqual(["10.0.9.53"]);
  });
  test("whoever is said", () => {
    const servers = felix("default", {
      dnsTrustedServers: ["192.0.2.53", "k8s-service:ns/dns", "2001:db8::53"],
    });
    expect(resolversOf(dns, own, servers, to("a.example"))).toEqual([
      "192.0.2.53/32",
      "2001:db8::53/128",
      "10.0.9.54",
    ]);
  });
  test("as the settings say now; the last rule that goes takes the sets along", () => {
    const calc = calcWith(dns, own, to("a.example"));
    const { resolvers } = calc.state();
    calc.apply([felix("default", { dnsTrustedServers: ["k8s-service:ns/dns"] })]);
    expect(calc.state().resolvers).not.toEqual(resolvers);
    calc.apply([gone(to("a.example"))]);
    expect(calc.state()).toMatchObject({ resolvers: undefined });
    expect(calc.state().sets.size).toBe(0);
  });
});

test.each<[why: string, rule: object, reaches: readonly [inNet: boolean, elsewhere: boolean]]>([
  [
    "denies nets",
    { action: "Deny", destination: { nets: ["192.0.2.0/24"], domains: ["a.example"] } },
    [false, true],
  ],
  [
    "allows nets",
    { action: "Allow", destination: { nets: ["192.0.2.0/24"], domains: ["a.example"] } },
    [true, false],
  ],
  ["allows all that somebody sends", { action: "Allow", source: { domains: ["a.example"] } }, [true, true]],
  [
    "but what names no name of DNS is not wide for that",
    { action: "Allow", destination: { domains: ["a b"] } },
    [false, false],
  ],
])("a rule of a former version, to which domains meant nothing, is as it was: %s", (_why, rule, expected) => {
  const egress = [rule, ...(expected[1] ? [{ action: "Allow" }] : [])];
  const calc = calcWith(stored("p", { selector: "app == 'web'", types: ["Egress"], egress }));
  expect([...calc.state().policies.values()].map(({ problem }) => problem)).toEqual([undefined]);
  expect([reaches(calc, "192.0.2.1"), reaches(calc, "198.51.100.1")]).toEqual(expected);
  const why = expect.stringMatching(/^spec\.egress\[0\]\.(source|destination)\..* of a former version: /);
  expect(calc.state().problems).toEqual([{ subject: "gnp/p", why, isInForce: true }]);
});

describe("explain does not know what DNS told a node", () => {
  const told = (destination: string, ...updates: readonly Update[]) => {
    const cluster = survey([...base, ...updates]);
    const places = { source: placeOf("a/web", cluster), destination: placeOf(destination, cluster) };
    return explain(cluster, { ...places, protocol: 6, sourcePort: 50_000, destinationPort: 443 });
  };
  const rules = (...egress: object[]) => gnp("p", { selector: "app == 'web'", types: ["Egress"], egress });
  const named = { action: "Allow", destination: { domains: ["a.example"] } };

  test("what hangs on it is unknown, and says so", () => {
    const { verdict: found, because, steps } = told("192.0.2.1", rules(named));
    expect(found).toBe("unknown");
    expect(because).toMatch(
      /no rule of gnp\/p matched; unless DNS told n1 that 192\.0\.2\.1 belongs to a domain.*allow by gnp\/p/,
    );
    expect(steps.at(-1)).toMatchObject({ action: "deny" });
  });
  test("what another rule allows or denies before is certain", () => {
    expect(told("192.0.2.1", rules({ action: "Deny" }, named)).verdict).toBe("denied");
    expect(told("192.0.2.1", rules(named, { action: "Allow" })).verdict).toBe("allowed");
  });
  test("so is what another protocol is", () => {
    expect(told("192.0.2.1", rules({ ...named, protocol: "UDP" })).verdict).toBe("denied");
  });
});
