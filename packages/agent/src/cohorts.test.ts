import { expect, test } from "@jest/globals";
import type { LocalEndpoint, NodeState } from "@margay/calc";
import fc from "fast-check";
import { CohortTable, cohortsOf } from "./cohorts.ts";

const pod = (name: string, profile: string, rest: Partial<LocalEndpoint> = {}): LocalEndpoint => ({
  ...{
    id: `ns/${name}`,
    interfaceName: `cali${name}`,
    addresses: [],
    mac: "02:00:00:00:00:01",
    spoofable: [],
  },
  ...{ ingress: [], egress: [], profiles: [profile], ok: true },
  ...rest,
});
const config = { interfacePrefix: "cali" } as NodeState["config"]; // all that is read of it
const stateOf = (endpoints: readonly LocalEndpoint[]) => ({ endpoints, config });
const [FIRST, SECOND] = [0x6d000001, 0x6d000002];

interface Row {
  readonly says: string;
  readonly pods: readonly LocalEndpoint[];
  /** Groups of the interfaces that are there; others are not. */
  readonly links: Readonly<Record<string, number>>;
  /** Those that were there before the rules. */
  readonly former?: readonly string[];
  readonly members: readonly string[];
  readonly groups: Readonly<Record<string, number>>;
}

test.each<Row>([
  {
    says: "new workloads of the same profiles are one cohort",
    pods: [pod("a", "x"), pod("b", "x"), pod("c", "y")],
    links: { calia: 0 },
    members: ["a", "b", "c"],
    groups: { calia: FIRST, calib: FIRST, calic: SECOND },
  },
  {
    says: "a group that goes along with another policy keeps its number",
    pods: [pod("a", "z"), pod("b", "z")],
    links: { calia: SECOND, calib: SECOND },
    members: ["a", "b"],
    groups: { calia: SECOND, calib: SECOND },
  },
  {
    says: "who is decided otherwise than most of its group has rules of its own until it is in another",
    pods: [pod("a", "x"), pod("b", "x"), pod("c", "y")],
    links: { calia: FIRST, calib: FIRST, calic: FIRST },
    members: ["a", "b"],
    groups: { calia: FIRST, calib: FIRST, calic: SECOND },
  },
  {
    says: "two groups may need the same",
    pods: [pod("a", "x"), pod("b", "x")],
    links: { calia: FIRST, calib: SECOND },
    members: ["a", "b"],
    groups: { calia: FIRST, calib: SECOND },
  },
  {
    says: "an interface from before the rules has its own until it is in a group",
    pods: [pod("a", "x"), pod("b", "x")],
    links: { calia: FIRST, calib: 0 },
    former: ["calib"],
    members: ["a"],
    groups: { calia: FIRST, calib: FIRST },
  },
  {
    says: "a group that is somebody else's counts as none, but the interface is not new",
    pods: [pod("a", "x")],
    links: { calia: 7 },
    members: [],
    groups: { calia: FIRST },
  },
  {
    says: "who is asked more than every workload, or cannot be resolved, shares an interface or an address, or has an interface that is not ours, has rules of its own",
    pods: [
      pod("a", "x", { spoofable: [{ family: 4, bits: 0n, length: 0 }] }),
      pod("b", "x", { ok: false }),
      (({ mac, ...rest }) => rest)(pod("c", "x")),
      pod("d", "x"),
      pod("e", "x", { interfaceName: "calid" }),
      pod("h", "x", { interfaceName: "eth0" }),
      pod("f", "x", { addresses: [{ family: 4, bits: 1n }] }),
      pod("g", "x", { addresses: [{ family: 4, bits: 1n }] }),
    ],
    links: {},
    members: [],
    groups: {},
  },
])("$says", ({ pods, links, former = [], members, groups }) => {
  const cohorts = cohortsOf(stateOf(pods), {
    groupOf: (name) => links[name],
    isFresh: (name) => !former.includes(name),
  });
  expect([...cohorts.members]).toEqual(members.map((name) => `ns/${name}`));
  expect(Object.fromEntries(cohorts.groups)).toEqual(groups);
  for (const { interfaceName } of pods) {
    const group = cohorts.groups.get(interfaceName);
    if (group !== undefined) expect(cohorts.cohorts.has(group)).toBe(true); // rules for it, before anybody is in it
  }
});

interface Step {
  readonly name: string;
  /** Undefined: it goes. */
  readonly profile: string | undefined;
  readonly address: number;
  /** What somebody does to its interface, or the agent: puts it where it is to be. */
  readonly link: number | "gone" | "as wanted" | undefined;
}

const anyStep: fc.Arbitrary<Step> = fc.record({
  name: fc.constantFrom("a", "b", "c", "d", "e"),
  profile: fc.option(fc.constantFrom("x", "y"), { nil: undefined }),
  address: fc.integer({ min: 1, max: 8 }),
  link: fc.option(fc.constantFrom<Step["link"]>("gone", "as wanted", "as wanted", 0, 7, FIRST, SECOND), {
    nil: undefined,
  }),
});

test("whatever comes, goes and changes: a member's group decides what it needs, and all that can be members become so", () => {
  let moved = 0;
  const walk = (steps: readonly Step[]) => {
    const table = new CohortTable();
    const [pods, links] = [new Map<string, LocalEndpoint>(), new Map<string, number>()];
    const known = { groupOf: (name: string) => links.get(name), isFresh: () => true };
    const update = (touched: readonly string[]) => {
      const endpoints = [...pods.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
      const cohorts = table.update(stateOf(endpoints), known, new Set(touched));
      for (const { id, interfaceName, profiles } of endpoints) {
        const group = cohorts.groups.get(interfaceName);
        if (!cohorts.members.has(id)) continue;
        expect(cohorts.cohorts.get(group ?? 0)?.profiles).toEqual(profiles);
        expect([undefined, 0, group]).toContain(links.get(interfaceName));
      }
      return { cohorts, endpoints };
    };
    for (const { name, profile, address, link } of steps) {
      const addresses = [{ family: 4 as const, bits: BigInt(address) }];
      if (profile === undefined) pods.delete(name);
      else pods.set(name, pod(name, profile, { addresses }));
      const wanted = update([]).cohorts.groups.get(`cali${name}`);
      const next = link === "as wanted" ? wanted : link;
      if (next === "gone") links.delete(`cali${name}`);
      else if (next !== undefined) links.set(`cali${name}`, next);
      update([`cali${name}`]);
    }
    update([]);
    const moves = new Map(table.moves);
    for (const [interfaceName, { group }] of moves) links.set(interfaceName, group);
    moved += moves.size;
    const { cohorts: after, endpoints } = update([...moves.keys()]);
    const addresses = endpoints.map((one) => String(one.addresses[0]?.bits));
    const alone = endpoints.filter((_, i) => addresses.filter((one) => one === addresses[i]).length === 1);
    expect(table.moves.size).toBe(0);
    expect([...after.members].sort()).toEqual(alone.map(({ id }) => id));
    const anew = cohortsOf(stateOf(endpoints), known);
    expect([...anew.members].sort()).toEqual(alone.map(({ id }) => id));
  };
  fc.assert(fc.property(fc.array(anyStep, { maxLength: 20 }), walk), { numRuns: 500 });
  expect(moved).toBeGreaterThan(100);
});

test("who had rules of its own keeps them until its interface is in a group, however new that is", () => {
  const table = new CohortTable();
  const links = new Map([["calia", 0]]);
  const known = { groupOf: (name: string) => links.get(name), isFresh: () => true };
  const members = (one: LocalEndpoint) => [
    ...table.update(stateOf([one]), known, new Set(["calia"])).members,
  ];
  expect(members(pod("a", "x", { spoofable: [{ family: 4, bits: 0n, length: 0 }] }))).toEqual([]);
  const plain = pod("a", "x");
  expect(members(plain)).toEqual([]);
  expect(table.moves.get("calia")).toEqual({ group: FIRST, isMember: false });
  links.set("calia", FIRST);
  expect(members(plain)).toEqual(["ns/a"]);
});

test("an interface is made where `groupFor` said, of which the table has not heard: policies that come meanwhile part it from that group", () => {
  const links = { groupOf: (name: string) => (name === "calia" ? FIRST : undefined), isFresh: () => true };
  const table = new CohortTable();
  const before = [pod("a", "x")];
  table.update(stateOf(before), links, undefined);
  expect(table.groupFor(pod("b", "x"))).toBe(FIRST);
  expect(table.groupFor(pod("c", "y"))).toBeUndefined();
  const { members } = table.update(stateOf([...before, pod("b", "y")]), links, undefined);
  expect(members.has("ns/b")).toBe(false); // the packets of its interface would meet the policies of a's
  expect(table.moves.get("calib")).toMatchObject({ group: SECOND, isMember: false });
});

test("an interface that will be made in the group of its cohort is to make no move", () => {
  const links = { groupOf: (name: string) => (name === "calia" ? FIRST : undefined), isFresh: () => true };
  const table = new CohortTable();
  table.update(stateOf([pod("a", "x")]), links, undefined);
  table.groupFor(pod("b", "x"));
  const { members } = table.update(stateOf([pod("a", "x"), pod("b", "x")]), links, undefined);
  expect(members.has("ns/b")).toBe(true);
  expect([...table.moves]).toEqual([]);
});
