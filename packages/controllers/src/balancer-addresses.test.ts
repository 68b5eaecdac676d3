import { describe, expect, test } from "@jest/globals";
import { type IPPool, parse } from "@margay/api";
import { parsePrefix } from "@margay/net";
import { balance } from "./balancer-addresses.ts";
import { type BalancerFacts, balancerFacts } from "./balancer-facts.ts";

const pool = (name: string, cidr: string, more: object = {}): IPPool =>
  parse({
    ...{ apiVersion: "margay.dev/v1", kind: "IPPool", metadata: { name } },
    spec: { cidr, blockSize: cidr.includes(":") ? 128 : 32, allowedUses: ["LoadBalancer"], ...more },
  }).resource as IPPool;
const service = (name: string, more: Partial<BalancerFacts> = {}): BalancerFacts => ({
  ...{ name: `shop/${name}`, version: "1", uid: name, created: "2026-01-01T00:00:00Z", families: [4] },
  ...{ isSecondOptional: true, asked: [], pools: [], sharingKey: undefined, ports: ["TCP/80"], current: [] },
  ...more,
});
const four = pool("four", "203.0.113.0/30");
const six = pool("six", "fd00:1b::/126");
const later = "2026-02-01T00:00:00Z";

const addresses = (services: BalancerFacts[], pools: IPPool[], former = {}) =>
  Object.fromEntries(
    [...balance(services, pools, { former: new Map(Object.entries(former)) })].map(
      ([name, { addresses, refused }]) => [
        name.replace("shop/", ""),
        refused ? [...addresses, refused] : addresses,
      ],
    ),
  );

describe("load balancers' addresses", () => {
  test.each<[why: string, services: BalancerFacts[], pools: IPPool[], expected: object]>([
    [
      "the lowest free one, the older service first",
      [service("b"), service("a", { created: later })],
      [four],
      { b: ["203.0.113.0"], a: ["203.0.113.1"] },
    ],
    [
      "who has one keeps it, whoever is older",
      [service("a"), service("b", { created: later, current: ["203.0.113.0"] })],
      [four],
      { a: ["203.0.113.1"], b: ["203.0.113.0"] },
    ],
    [
      "of two that have the same, the older keeps it: two leaders may have given it",
      [
        service("a", { created: later, current: ["203.0.113.0"] }),
        service("b", { current: ["203.0.113.0"] }),
      ],
      [four],
      { b: ["203.0.113.0"], a: ["203.0.113.1"] },
    ],
    [
      "one asked for by name goes before one given unasked",
      [service("a"), service("b", { created: later, asked: ["203.0.113.0"] })],
      [four],
      { a: ["203.0.113.1"], b: ["203.0.113.0"] },
    ],
    [
      "asked for, but another's",
      [service("a", { current: ["203.0.113.0"] }), service("b", { asked: ["203.0.113.0"] })],
      [four],
      { a: ["203.0.113.0"], b: ["203.0.113.0 is another service's"] },
    ],
    [
      "asked for, but in no pool of that use",
      [service("a", { asked: ["10.244.0.5"] })],
      [four, pool("pods", "10.244.0.0/24", { allowedUses: ["Workload"], blockSize: 26 })],
      { a: ["10.244.0.5 is in no pool for load balancers"] },
    ],
    [
      "another one asked for takes the place of the one it has",
      [service("a", { current: ["203.0.113.0"], asked: ["203.0.113.2"] })],
      [four],
      { a: ["203.0.113.2"] },
    ],
    [
      "both families",
      [service("a", { families: [4, 6], isSecondOptional: false })],
      [four, six],
      { a: ["203.0.113.0", "fd00:1b::"] },
    ],
    [
      "PreferDualStack goes with one, RequireDualStack with none",
      [service("a", { families: [4, 6] }), service("b", { families: [4, 6], isSecondOptional: false })],
      [four],
      { a: ["203.0.113.0"], b: ["no pool for load balancers has a free IPv6 address"] },
    ],
    [
      "shared by agreement, each with ports of its own",
      [
        service("a", { sharingKey: "x" }),
        service("b", { sharingKey: "x", ports: ["TCP/443"] }),
        service("c", { sharingKey: "x" }),
        service("d", { ports: ["TCP/8443"] }),
      ],
      [four],
      { a: ["203.0.113.0"], b: ["203.0.113.0"], c: ["203.0.113.1"], d: ["203.0.113.2"] },
    ],
    [
      "a pool that is full",
      ["a", "b", "c", "d", "e"].map((name) => service(name)),
      [four],
      {
        ...{ a: ["203.0.113.0"], b: ["203.0.113.1"], c: ["203.0.113.2"], d: ["203.0.113.3"] },
        e: ["no pool for load balancers has a free IPv4 address"],
      },
    ],
    [
      "a disabled pool gives none and takes none away",
      [service("a"), service("b", { current: ["203.0.113.1"] })],
      [pool("four", "203.0.113.0/30", { disabled: true })],
      { a: ["no pool for load balancers has a free IPv4 address"], b: ["203.0.113.1"] },
    ],
    [
      "a manual pool only by name",
      [service("a"), service("b", { pools: ["four"] })],
      [pool("four", "203.0.113.0/30", { assignmentMode: "Manual" })],
      { a: ["no pool for load balancers has a free IPv4 address"], b: ["203.0.113.0"] },
    ],
  ])("%s", (_why, services, pools, expected) => {
    expect(addresses(services, pools)).toEqual(expected);
    expect(addresses(services.toReversed(), pools)).toEqual(expected);
  });
});

describe("what blocks say", () => {
  const [x, y] = ["203.0.113.0", "203.0.113.1"];
  test.each<[why: string, former: Record<string, string[]>, services: BalancerFacts[], expected: object]>([
    [
      "a block's word goes before a status's, and before age",
      { [y]: ["shop/b"] },
      [service("a", { current: [y] }), service("b", { created: later })],
      { a: [x], b: [y] },
    ],
    [
      "a status counts where no block says anything: so it was before there were blocks",
      {},
      [service("a", { current: [y] })],
      { a: [y] },
    ],
    [
      "what a service had that is not here any more is not given, not even by name",
      { [x]: ["shop/gone"] },
      [service("a"), service("b", { asked: [x] })],
      { a: [y], b: [`${x} is another service's`] },
    ],
    ["what is no service's is not given", { [x]: [] }, [service("a")], { a: [y] }],
    [
      "one of those that share it is gone: the others keep it",
      { [x]: ["shop/a", "shop/gone"] },
      [service("a", { sharingKey: "k" })],
      { a: [x] },
    ],
    [
      "who asks for another one gives up what it has",
      { [x]: ["shop/a"] },
      [service("a", { current: [x], asked: [y] }), service("b", { created: later })],
      { a: [y], b: [x] },
    ],
    [
      "no pool has it any more",
      { "192.0.2.1": ["shop/a"] },
      [service("a", { current: ["192.0.2.1"] })],
      { a: [x] },
    ],
  ])("%s", (_why, former, services, expected) => {
    expect(addresses(services, [four], former)).toEqual(expected);
    expect(addresses(services.toReversed(), [four], former)).toEqual(expected);
  });
});

test("what an IPReservation names is given to those alone who ask for it", () => {
  const reserved = ["203.0.113.0/31", "fd00:1b::/100"].map((text) => parsePrefix(text));
  const large = pool("large", "fd00:1b::/64");
  const both = { families: [4, 6] } as const;
  const given = balance(
    [service("a", both), service("b", { asked: ["203.0.113.1"], created: later })],
    [four, large],
    { reserved },
  );
  expect(given.get("shop/a")).toEqual({ addresses: ["203.0.113.2", "fd00:1b::1000:0"] });
  expect(given.get("shop/b")).toEqual({ addresses: ["203.0.113.1"] });
});

describe("ground that a pool with blocks of another size has, too, gives no new block", () => {
  const p = pool("p", "203.0.113.0/28", { blockSize: 30 });
  const rival = (cidr: string, more = {}) =>
    pool("r", cidr, { blockSize: 31, allowedUses: ["Workload"], ...more });
  const [x, y] = ["203.0.113.0", "203.0.113.1"];
  const WHY = "what two pools with blocks of different sizes both have is not given (margay ipam check)";
  test.each<[why: string, one: BalancerFacts, r: IPPool, blocks: string[], expected: string[]]>([
    ["the rest is given", service("a"), rival("203.0.113.0/29"), [], ["203.0.113.8"]],
    ["a part of a block: the whole", service("a"), rival("203.0.113.0/31"), [], ["203.0.113.4"]],
    [
      "all of it",
      service("a"),
      rival("203.0.113.0/24"),
      [],
      [`no pool for load balancers has a free IPv4 address; ${WHY}`],
    ],
    [
      "... by name",
      service("a", { asked: [x] }),
      rival("203.0.113.0/29"),
      [],
      [`${x} is in no block; ${WHY}`],
    ],
    ["a block that is there", service("a"), rival("203.0.113.0/24"), ["203.0.113.8/30"], ["203.0.113.8"]],
    ["... by name", service("a", { asked: [y] }), rival("203.0.113.0/24"), ["203.0.113.0/30"], [y]],
    ["who has one keeps it", service("a", { current: [x] }), rival("203.0.113.0/24"), [], [x]],
    ["blocks of one size", service("a"), rival("203.0.113.0/24", { blockSize: 30 }), [], [x]],
    ["a disabled one", service("a"), rival("203.0.113.0/24", { disabled: true }), [], [x]],
  ])("%s", (_why, one, r, blocks, expected) => {
    const { addresses, refused } = balance([one], [p, r], {
      blocks: blocks.map((text) => parsePrefix(text)),
    }).get("shop/a") ?? { addresses: [] };
    expect(refused ? [...addresses, refused] : addresses).toEqual(expected);
  });
});

test("Services of another class or type are somebody else's", () => {
  const of = (spec: object) =>
    balancerFacts({ metadata: { name: "a", namespace: "shop" }, spec }, "margay.dev/load-balancer")?.name;
  expect(of({ type: "LoadBalancer" })).toBe("shop/a");
  expect(of({ type: "LoadBalancer", loadBalancerClass: "margay.dev/load-balancer" })).toBe("shop/a");
  expect(of({ type: "LoadBalancer", loadBalancerClass: "other" })).toBeUndefined();
  expect(of({ type: "ClusterIP" })).toBeUndefined();
});
