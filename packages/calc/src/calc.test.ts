import { describe, expect, test } from "@jest/globals";
import { evaluate, parseSelector } from "@margay/api";
import { formatAddress, formatPrefix } from "@margay/net";
import { partsOf } from "@margay/reconcile";
import fc from "fast-check";
import { Calc, type Update } from "./calc.ts";
import type { NeutralSet } from "./model.ts";
import { SelectorIndex } from "./selector-index.ts";
import type { NodeState } from "./state.ts";
import {
  affinity,
  felix,
  gnetset,
  gnp,
  gone,
  host,
  namespace,
  netset,
  np,
  pod,
  pool,
  profile,
  slice,
  staged,
  tier,
} from "./testing/resources.ts";

const members = (calc: Calc, about: string) => {
  const set = [...calc.state().sets.values()].find((s) => s.about === about);
  return set && { 4: [...set.members[4]].sort(), 6: [...set.members[6]].sort() };
};

/** The order in which a map was filled is no part of the state. */
const unordered = ({ policies, profiles, sets, ...state }: NodeState) => ({
  ...state,
  ...{ policies: new Map(policies), profiles: new Map(profiles) },
  sets: new Map([...sets].map(([id, { members, ...set }]) => [id, { ...set, members: plain(members) }])),
});

const plain = (members: NeutralSet["members"]) => ({ 4: new Set(members[4]), 6: new Set(members[6]) });

describe("Calc", () => {
  const base = [
    namespace("a"),
    namespace("b"),
    pod("a/web", ["10.0.0.1"], { labels: { app: "web" } }),
    np("a/p", {
      selector: "app == 'web'",
      ingress: [{ action: "Allow", source: { selector: "app == 'client'" } }],
    }),
  ];
  const clients = 'projectcalico.org/namespace == "a" && app == "client"';
  const client = (n: number, more = {}) =>
    pod(`a/c${n}`, [`10.0.1.${n}`, `fd00::1:${n}`], { labels: { app: "client" }, node: "n2", ...more });

  function calcWith(...updates: Update[]): Calc {
    const calc = new Calc("n1");
    calc.apply([...base, ...updates]);
    return calc;
  }

  test("the state holds what local endpoints need, and no more", () => {
    const calc = calcWith(
      np("b/q", { ingress: [{ action: "Allow", source: { selector: "app == 'x'" } }] }),
      pod("b/far", ["10.0.2.1"], { node: "n2" }),
    );
    const { endpoints, policies, profiles, sets } = calc.state();
    expect(endpoints.map(({ id, ok }) => [id, ok])).toEqual([["a/web", true]]);
    expect([...policies.keys()]).toEqual(["np/a/p"]);
    expect([...profiles.keys()]).toEqual(["kns.a"]);
    expect([...sets.values()].map(({ about }) => about)).toEqual([clients]);
  });

  test("a remote pod that a rule selects is members more, and every other part is the same object", () => {
    const calc = calcWith(client(1));
    const before = calc.state();
    calc.apply([client(2)]);
    const after = calc.state();
    expect(members(calc, clients)).toEqual({ 4: ["10.0.1.1", "10.0.1.2"], 6: ["fd00::1:1", "fd00::1:2"] });
    expect(after.policies).toBe(before.policies);
    expect(after.endpoints).toBe(before.endpoints);
  });

  test("one policy more of many leaves most parts of the state the same objects, so that nobody looks into them", () => {
    const selected = { ingress: [{ action: "Allow", source: { selector: "app == 'client'" } }] };
    const calc = calcWith(...Array.from({ length: 500 }, (_, n) => np(`a/p${n}`, selected)));
    const before = calc.state();
    calc.apply([np("a/one", selected)]);
    const after = calc.state();
    expect(after.policies.get("np/a/one")?.id).toBe("np/a/one");
    const [olds, news] = [partsOf(before.policies), partsOf(after.policies)];
    expect([...news].filter(([id, part]) => olds.get(id) !== part)).toHaveLength(1);
    expect(after.sets).toBe(before.sets);
  });

  test("a block more leaves the settings the same object, by which everything is rendered", () => {
    const calc = calcWith();
    const before = calc.state();
    calc.apply([affinity("n1", "10.9.0.0/26")]);
    expect(calc.state().blocks).not.toEqual(before.blocks);
    expect(calc.state().config).toBe(before.config);
  });

  test("what concerns nobody here leaves the state the same object", () => {
    const calc = calcWith(client(1));
    const before = calc.state();
    calc.apply([
      pod("b/far", ["10.0.2.1"], { node: "n2", labels: { app: "client" } }),
      client(1),
      np("b/q", {}),
    ]);
    expect(calc.state()).toBe(before);
  });

  test("an address that two pods claim stays while one of them does", () => {
    const calc = calcWith(client(1), client(2, { spec: { ipNetworks: ["10.0.1.1/32"] } }));
    calc.apply([gone(client(2))]);
    expect(members(calc, clients)?.[4]).toEqual(["10.0.1.1"]);
  });

  test("a namespace's new label moves its pods in and out of sets", () => {
    const calc = calcWith(
      client(1),
      gnp("g", { ingress: [{ action: "Allow", source: { namespaceSelector: "env == 'x'" } }] }),
    );
    const set = 'has(projectcalico.org/namespace) && pcns.env == "x"';
    expect(members(calc, set)?.[4]).toEqual([]);
    calc.apply([namespace("a", { env: "x" })]);
    expect(members(calc, set)?.[4]).toEqual(["10.0.0.1", "10.0.1.1"]);
    calc.apply([namespace("a")]);
    expect(members(calc, set)?.[4]).toEqual([]);
  });

  test("the last policy that uses a set takes it away", () => {
    const q = np("a/q", { ingress: [{ action: "Deny", source: { selector: "app == 'client'" } }] });
    const calc = calcWith(q);
    calc.apply([gone(q)]);
    expect(calc.state().sets.size).toBe(1);
    calc.apply([gone(np("a/p", {}))]);
    expect(calc.state().sets.size).toBe(0);
  });

  test("policies for host endpoints do not concern workloads", () => {
    const calc = calcWith(
      gnp("g", { doNotTrack: true, applyOnForward: true, ingress: [{ action: "Deny" }] }),
    );
    expect([...calc.state().policies.keys()]).toEqual(["np/a/p"]);
  });

  test("pools, own blocks, hosts and configuration", () => {
    const calc = calcWith(
      pool("p4", { cidr: "10.0.0.0/16", natOutgoing: true }),
      affinity("n1", "10.0.0.0/26"),
      affinity("n1", "10.0.0.64/26", "pending"),
      affinity("n2", "10.0.1.0/26"),
      host("n2", "172.20.0.12/24"),
      felix("default", { defaultEndpointToHostAction: "Accept", logPrefix: "x" }),
      felix("node.n1", { logPrefix: "y" }),
    );
    const { pools, blocks, hosts, config } = calc.state();
    expect(pools.map(({ name, cidr, natOutgoing }) => [name, formatPrefix(cidr), natOutgoing])).toEqual([
      ["p4", "10.0.0.0/16", true],
    ]);
    expect(blocks.map(formatPrefix)).toEqual(["10.0.0.0/26"]);
    expect(hosts.map(({ name, addresses }) => [name, addresses.map(formatAddress)])).toEqual([
      ["n2", ["172.20.0.12"]],
    ]);
    expect([config.defaultEndpointToHostAction, config.logPrefix]).toEqual(["Accept", "y"]);
  });

  test("workloads may spoof only where the configuration says so", () => {
    const calc = calcWith(
      pod("a/lb", ["10.0.0.8"], { spec: { allowSpoofedSourcePrefixes: ["192.0.2.0/24"] } }),
    );
    const spoofable = () =>
      calc
        .state()
        .endpoints.find(({ id }) => id === "a/lb")
        ?.spoofable.map(formatPrefix);
    expect(spoofable()).toEqual([]);
    calc.apply([felix("default", { workloadSourceSpoofing: "Any" })]);
    expect(spoofable()).toEqual(["192.0.2.0/24"]);
  });
});

describe("the state depends on the resources, not on the order in which they were learned", () => {
  const pick = <T>(...values: T[]) => fc.constantFrom(...values);
  const labels = fc.record({ app: pick("web", "db"), env: pick("x", "y") }, { requiredKeys: [] });
  const selector = pick(
    "all()",
    "app == 'web'",
    "env in {'x'}",
    "!has(app)",
    "app == 'db' && env == 'y'",
    "app != 'web' || has(env)",
  );
  const selected = fc.record(
    {
      selector,
      notSelector: selector,
      namespaceSelector: pick("all()", "team == 'r'", "global()"),
      nets: pick(["10.0.0.0/8"], []),
      ports: pick([80], ["http"], ["http", "80:90"]),
    },
    { requiredKeys: [] },
  );
  const entity = fc.oneof(
    { weight: 6, arbitrary: selected },
    pick<object>({ services: { name: "s", namespace: "a" } }, { nodeSelector: "zone == 'x'" }),
  );
  const rule = fc.record(
    {
      action: pick("Allow", "Deny", "Pass", "Log"),
      protocol: fc.constant("TCP"),
      source: entity,
      destination: entity,
    },
    { requiredKeys: ["action", "protocol"] },
  );
  const policy = fc.record(
    {
      order: pick(1, 2),
      tier: pick("t1", "t2", "default"),
      selector,
      ingress: fc.array(rule, { maxLength: 2 }),
      egress: fc.array(rule, { maxLength: 2 }),
    },
    { requiredKeys: [] },
  );
  const names = pick("p", "q");
  const spaces = pick("a", "b");
  const path = fc.tuple(spaces, pick("p", "q", "r")).map((parts) => parts.join("/"));
  const somePod = fc
    .record({
      path,
      node: pick("n1", "n2"),
      labels,
      ip: fc.integer({ min: 1, max: 3 }),
      six: fc.boolean(),
      port: pick(80, 81),
      odd: fc.boolean(),
    })
    .map(({ path, node, labels, ip, six, port, odd }) => {
      const spec = {
        ports: [{ name: "http", protocol: "TCP", port }],
        ...(odd && { interfaceName: "caliodd", profiles: ["kns.a", "extra"] }),
      };
      return pod(path, [`10.0.0.${ip}`, ...(six ? [`fd00::${ip}`] : [])], { node, labels, spec });
    });
  const update: fc.Arbitrary<Update> = fc.oneof(
    { weight: 6, arbitrary: somePod },
    { weight: 4, arbitrary: fc.tuple(path, policy).map(([path, spec]) => np(path, spec)) },
    { weight: 3, arbitrary: fc.tuple(names, policy).map(([name, spec]) => gnp(name, spec)) },
    {
      weight: 2,
      arbitrary: fc
        .tuple(spaces, pick<Record<string, string>>({}, { team: "r" }))
        .map(([name, labels]) => namespace(name, labels)),
    },
    {
      weight: 3,
      arbitrary: fc
        .tuple(pick("t1", "t2"), pick(1, 5), pick("Deny", "Pass"))
        .map(([name, order, defaultAction]) => tier(name, { order, defaultAction })),
    },
    {
      weight: 2,
      arbitrary: fc
        .tuple(names, policy, pick("Set", "Delete", "Learn"))
        .map(([name, spec, action]) => staged(gnp(name, spec), action)),
    },
    fc
      .tuple(fc.array(rule, { maxLength: 1 }), pick({}, { app: "db" }))
      .map(([ingress, labelsToApply]) => profile("extra", { ingress, labelsToApply })),
    fc.tuple(path, labels).map(([path, labels]) => netset(path, labels, ["192.0.2.0/24", "10.0.0.1/32"])),
    fc
      .tuple(names, labels, pick("0.0.0.0/0", "2001:db8::/32"))
      .map(([name, labels, net]) => gnetset(name, labels, [net])),
    fc.tuple(pick("a/s", "b/s"), pick(80, 81)).map(([path, port]) => slice(path, ["10.0.0.3"], [port])),
    pick("x", "y").map((zone) => host("n2", "172.20.0.12/24", { zone })),
    pick(
      pool("p", { cidr: "10.0.0.0/16" }),
      affinity("n1", "10.0.0.0/26"),
      felix("default", { workloadSourceSpoofing: "Any" }),
    ),
  );
  const change = fc.tuple(update, fc.nat(9)).map(([put, chance]): Update => {
    if (chance === 0) return { key: put.key, corrupt: "broken" };
    return chance < 3 ? gone(put) : put;
  });

  test("updates shuffled, split, merged, replayed, deleted and added again end alike", () => {
    fc.assert(
      fc.property(
        fc.array(change, { minLength: 5, maxLength: 50 }),
        fc.infiniteStream(fc.nat(1000)),
        (history, random) => {
          const chance = (): number => random.next().value ?? 0;
          const lived = new Calc("n1");
          for (const [i, one] of history.entries()) {
            const replay = chance() % 4 === 0 ? [one] : [];
            const detour = chance() % 4 === 0 ? [gone(one)] : [];
            lived.apply([...detour, one, ...replay]);
            if (chance() % 3 === 0 || i === history.length - 1) lived.state();
          }
          const last = [...new Map(history.map((one) => [one.key, one])).values()];
          const shuffled = last.map((one) => ({ one, at: chance() })).sort((a, b) => a.at - b.at);
          const fresh = new Calc("n1");
          fresh.apply(shuffled.map(({ one }) => one));
          expect(unordered(lived.state())).toEqual(unordered(fresh.state()));
        },
      ),
      { numRuns: 400 },
    );
  });
});

describe("SelectorIndex", () => {
  const texts = [
    "all()",
    "a == '1'",
    "a in {'1','2'} && b == '1'",
    "!has(a)",
    "has(b) && a != '1'",
    "b starts with '1' || a == '2'",
    "a in {}",
  ];
  const labels = fc.record(
    { a: fc.constantFrom("1", "2", "3"), b: fc.constantFrom("1", "12") },
    { requiredKeys: [] },
  );
  const step = fc.oneof(
    fc.record({ do: fc.constant("set" as const), id: fc.nat(4), labels }),
    fc.record({ do: fc.constant("drop" as const), id: fc.nat(4) }),
    fc.record({ do: fc.constant("add" as const), id: fc.nat(texts.length - 1) }),
    fc.record({ do: fc.constant("remove" as const), id: fc.nat(texts.length - 1) }),
  );

  test("tells exactly the pairs that a comparison of all with all would find", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const told = new Set<string>();
        const index = new SelectorIndex({
          matched: (s, i) => expect(told.has(`${s} ${i}`) || !told.add(`${s} ${i}`)).toBe(false),
          unmatched: (s, i) => expect(told.delete(`${s} ${i}`)).toBe(true),
        });
        const items = new Map<number, Record<string, string>>();
        const selectors = new Set<number>();
        for (const step of steps) {
          if (step.do === "set") {
            items.set(step.id, step.labels);
            index.setItem(`i${step.id}`, step.labels);
          } else if (step.do === "drop") {
            items.delete(step.id);
            index.deleteItem(`i${step.id}`);
          } else if (step.do === "add") {
            if (!selectors.has(step.id))
              index.addSelector(`s${step.id}`, parseSelector(texts[step.id] ?? ""));
            selectors.add(step.id);
          } else {
            selectors.delete(step.id);
            index.deleteSelector(`s${step.id}`);
          }
        }
        const expected = [...selectors].flatMap((s) =>
          [...items]
            .filter(([, its]) => evaluate(parseSelector(texts[s] ?? ""), its))
            .map(([i]) => `s${s} i${i}`),
        );
        expect([...told].sort()).toEqual(expected.sort());
      }),
      { numRuns: 1000 },
    );
  });
});
