import { describe, expect, test } from "@jest/globals";
import { parseAddress } from "@margay/net";
import { Calc, type Update } from "./calc.ts";
import { gnp, gone, host, namespace, np, pod, slice } from "./testing/resources.ts";
import { verdict } from "./verdict.ts";

/** a/web (10.0.0.1) sends to, or hears from, what stands behind services, and nodes. */
const base = [
  namespace("a"),
  pod("a/web", ["10.0.0.1", "fd00::1"], { labels: { app: "web" } }),
  slice("b/db", ["10.0.0.9", "10.0.0.10"], [5432, 5433]),
  slice("b/db", ["fd00::9"], [5432]),
  slice("a/cache", ["10.0.0.20"], [6379]),
  host("n1", "172.20.0.11/24", { zone: "x" }),
  host("n2", "172.20.0.12/24", { zone: "y" }),
];

function ask(
  updates: readonly Update[],
  direction: "ingress" | "egress",
  other: string,
  port: number,
  protocol = 6,
) {
  const calc = new Calc("n1");
  calc.apply([...base, ...updates]);
  const [own, far] = [parseAddress(other.includes(":") ? "fd00::1" : "10.0.0.1"), parseAddress(other)];
  const [source, destination] = direction === "egress" ? [own, far] : [far, own];
  const packet = { source, destination, protocol, sourcePort: 40_000, destinationPort: port };
  return verdict(calc.state(), packet, { endpoint: "a/web", direction }).verdict;
}

const out = (destination: object, more: object = {}) => ({
  ...{ selector: "app == 'web'", types: ["Egress"] },
  egress: [{ action: "Allow", destination, ...more }],
});
const into = (source: object) => ({ selector: "app == 'web'", ingress: [{ action: "Allow", source }] });
const db = { services: { name: "db", namespace: "b" } };

describe("services: to them with their ports, from them without (calico.md §1.9)", () => {
  test.each<
    [
      why: string,
      policy: Update,
      direction: "ingress" | "egress",
      other: string,
      port: number,
      verdict: string,
    ]
  >([
    ["to an endpoint at a port of the service", gnp("p", out(db)), "egress", "10.0.0.10", 5433, "allow"],
    ["of every slice, in its family", gnp("p", out(db)), "egress", "fd00::9", 5432, "allow"],
    ["a port of one slice is not that of another", gnp("p", out(db)), "egress", "fd00::9", 5433, "deny"],
    ["at another port", gnp("p", out(db)), "egress", "10.0.0.9", 80, "deny"],
    ["to an endpoint of another service", gnp("p", out(db)), "egress", "10.0.0.20", 6379, "deny"],
    [
      "of the policy's namespace unless said",
      np("a/p", out({ services: { name: "cache" } })),
      "egress",
      "10.0.0.20",
      6379,
      "allow",
    ],
    [
      "... where another has none of that name",
      np("a/p", out({ services: { name: "db" } })),
      "egress",
      "10.0.0.9",
      5432,
      "deny",
    ],
    ["from an endpoint, whatever the port", gnp("p", into(db)), "ingress", "10.0.0.9", 1, "allow"],
    ["from anyone else", gnp("p", into(db)), "ingress", "10.0.0.20", 5432, "deny"],
  ])("%s", (_why, policy, direction, other, port, expected) => {
    expect(ask([policy], direction, other, port)).toBe(expected);
  });

  test("the protocol is part of the port", () => {
    expect(ask([gnp("p", out(db))], "egress", "10.0.0.9", 5432, 17)).toBe("deny");
  });

  test("a slice more or less is set members more or less", () => {
    const calc = new Calc("n1");
    calc.apply([...base, gnp("p", out(db))]);
    const before = calc.state();
    const scaled = slice("b/db", ["10.0.0.11"], [5432]);
    calc.apply([scaled]);
    const [set] = [...calc.state().sets.values()];
    expect(set?.members[4]).toContain("10.0.0.11,tcp:5432");
    expect(calc.state().policies).toBe(before.policies);
    calc.apply([gone(scaled)]);
    expect(calc.state()).toEqual(before);
  });

  test("a slice that cannot be read closes a Deny of its service, and leaves an Allow narrower", () => {
    const { key } = slice("b/db", ["10.0.0.9", "10.0.0.10"], []);
    const unreadable = { key, corrupt: "not JSON" };
    const deny = { ...out(db), egress: [{ action: "Deny", destination: db }, { action: "Allow" }] };
    expect(ask([gnp("p", deny), unreadable], "egress", "192.0.2.1", 80)).toBe("deny");
    expect(ask([gnp("p", out(db)), unreadable], "egress", "10.0.0.9", 5432)).toBe("deny");
    expect(ask([gnp("p", out(db)), unreadable], "egress", "fd00::9", 5432)).toBe("allow");
  });
});

test("nodeSelector means the addresses of nodes, by their own labels", () => {
  const near = gnp("p", out({ nodeSelector: "zone == 'x'" }));
  expect(ask([near], "egress", "172.20.0.11", 22)).toBe("allow");
  expect(ask([near], "egress", "172.20.0.12", 22)).toBe("deny");
  const others = gnp("p", out({ selector: "all()" }));
  expect(ask([others], "egress", "172.20.0.11", 22)).toBe("deny");
});
