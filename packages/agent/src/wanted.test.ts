import { expect, test } from "@jest/globals";
import { parse } from "@margay/api";
import { Calc, type NodeState } from "@margay/calc";
import { formatRoute, type Link } from "@margay/netlink";
import fc from "fast-check";
import { fileInto } from "./intake.ts";
import { LinkTable } from "./link-table.ts";
import { notOurs, Wanted } from "./wanted.ts";

const resource = (kind: string, name: string, spec: object, namespace?: string) =>
  parse({ apiVersion: "margay.dev/v1", kind, metadata: { name, ...(namespace && { namespace }) }, spec })
    .resource;

const affinity = (cidr: string, state = "confirmed") => ({
  key: `/margay/v1/blockaffinities/n1-${cidr.replace("/", "-")}`,
  value: resource("BlockAffinity", `n1-${cidr.replace("/", "-")}`, { state, node: "n1", type: "host", cidr }),
});
const endpoint = (pod: string, ipNetworks: string[], more: object = {}) => ({
  key: `/margay/v1/workloadendpoints/default/${pod}`,
  value: resource(
    "WorkloadEndpoint",
    pod,
    { orchestrator: "k8s", node: "n1", endpoint: "eth0", interfaceName: `cali${pod}`, ipNetworks, ...more },
    "default",
  ),
});
const felix = (spec: object) => ({
  key: "/margay/v1/felixconfigurations/default",
  value: resource("FelixConfiguration", "default", spec),
});

function stateOf(...updates: Parameters<Calc["apply"]>[0]): NodeState {
  const calc = new Calc("n1");
  calc.apply(updates);
  return calc.state();
}
const up = () => true;
const routesOf = (state: NodeState, isUp = up) =>
  [...new Wanted().update(state, isUp).routes.values()].map(formatRoute);
const wantedSysctls = (state: NodeState, isUp: (name: string) => boolean) =>
  new Map([...new Wanted().update(state, isUp).settings.values()].flatMap((settings) => [...settings]));

test("a pod has its addresses routed to its interface, an own block goes nowhere", () => {
  const state = stateOf(affinity("10.244.0.0/26"), endpoint("a", ["10.244.0.1/32", "fd00::1/128"]));
  expect(routesOf(state)).toEqual([
    "blackhole 10.244.0.0/26",
    "10.244.0.1/32 dev calia",
    "fd00::1/128 dev calia",
  ]);
});

test.each<[string, Parameters<Calc["apply"]>[0], string[]]>([
  ["a block not yet confirmed may be another's", [affinity("10.244.0.0/26", "pending")], []],
  [
    "a block of one address is its pod's route",
    [affinity("10.244.0.7/32"), endpoint("a", ["10.244.0.7/32"])],
    ["10.244.0.7/32 dev calia"],
  ],
  [
    "without IPv6 support none of it is routed",
    [felix({ ipv6Support: false }), affinity("fd00::/122"), endpoint("a", ["10.0.0.1/32", "fd00::1/128"])],
    ["10.0.0.1/32 dev calia"],
  ],
  [
    "the source address of the device routes is configurable",
    [felix({ deviceRouteSourceAddress: "172.20.0.11" }), endpoint("a", ["10.0.0.1/32"])],
    ["10.0.0.1/32 dev calia src 172.20.0.11"],
  ],
  ["a pod of another node is not ours to route", [endpoint("a", ["10.0.0.1/32"], { node: "n2" })], []],
  [
    "an endpoint whose profile is missing is routed all the same: its chains drop",
    [endpoint("a", ["10.0.0.1/32"], { profiles: ["kns.none"] })],
    ["10.0.0.1/32 dev calia"],
  ],
])("%s", (_why, updates, routes) => {
  expect(routesOf(stateOf(...updates))).toEqual(routes);
});

test("an endpoint that names a foreign interface gets neither route nor settings: policy would not see its packets", () => {
  const state = stateOf(endpoint("a", ["10.0.0.1/32"], { interfaceName: "eth0" }));
  expect(routesOf(state)).toEqual([]);
  expect([...wantedSysctls(state, up).keys()].filter((name) => name.includes("eth0"))).toEqual([]);
  expect(state.endpoints.map((e) => notOurs(e, state.config))).toEqual([
    "interface eth0 does not begin with cali (FelixConfiguration.interfacePrefix)",
  ]);
});

test("an address that the schema let through closes its own resource and no other", () => {
  const told: string[] = [];
  const bad = endpoint("bad", ["10.0.0.1/32"]);
  Object.assign(bad.value.spec, { ipNetworks: ["10.0.0.300/32"] });
  const calc = new Calc("n1");
  fileInto(calc, [bad, endpoint("good", ["10.0.0.2/32"])], (key) => told.push(key));
  expect(told).toEqual([bad.key]);
  expect(calc.state().endpoints.map(({ id }) => id)).toEqual(["default/good"]);
});

test("what has no interface yet waits; its block does not", () => {
  const state = stateOf(affinity("10.244.0.0/26"), endpoint("a", ["10.244.0.1/32"]));
  expect(routesOf(state, () => false)).toEqual(["blackhole 10.244.0.0/26"]);
  expect([...wantedSysctls(state, () => false).keys()]).toEqual([
    "net.ipv4.ip_forward",
    "net.ipv6.conf.all.forwarding",
  ]);
});

test("an interface's reverse path is strict, loose where other sources are allowed; dots are spelt as slashes", () => {
  const loose = stateOf(
    endpoint("b", ["10.0.0.2/32"], {
      interfaceName: "cali.b",
      allowSpoofedSourcePrefixes: ["192.0.2.0/24"],
    }),
    felix({ ipForwarding: "Disabled", ipv6Support: false, workloadSourceSpoofing: "Any" }),
  );
  const rpFilter = (...more: ReturnType<typeof felix>[]) =>
    wantedSysctls(stateOf(endpoint("a", ["10.0.0.1/32"]), ...more), up).get("net.ipv4.conf.calia.rp_filter");
  expect(rpFilter()).toBe("1");
  expect(rpFilter(felix({ workloadRPF: "Loose" }))).toBe("2");
  expect(rpFilter(felix({ workloadRPF: "Disabled" }))).toBe("0");
  expect(Object.fromEntries(wantedSysctls(loose, up))).toEqual({
    "net.ipv4.conf.cali/b.forwarding": "1",
    "net.ipv4.conf.cali/b.proxy_arp": "1",
    "net.ipv4.neigh.cali/b.proxy_delay": "0",
    "net.ipv4.conf.cali/b.rp_filter": "2",
  });
});

const link = (name: string, index: number, isUp = true): Link => ({
  name,
  index,
  up: isUp,
  state: "up",
  group: 0,
  mtu: 1500,
});

test("a link that goes and comes back has lost its routes; one that is new, or stays away, has none to lose", () => {
  const table = new LinkTable();
  table.reset([link("a", 1), link("b", 2)]);
  expect(table.takeLost()).toBe(false);
  expect(table.apply({ change: "new", link: link("a", 1) })).toBe(false); // its statistics changed, say
  expect(table.apply({ change: "new", link: link("c", 3) })).toBe(true);
  expect(table.takeLost()).toBe(false);
  table.apply({ change: "deleted", link: link("a", 1) });
  expect([table.isUp("a"), table.takeLost()]).toEqual([false, false]);
});

test.each<[string, (table: LinkTable) => void]>([
  [
    "deleted and made again",
    (t) => {
      t.apply({ change: "deleted", link: link("a", 1) });
      t.apply({ change: "new", link: link("a", 9) });
    },
  ],
  [
    "made again, the deletion unseen",
    (t) => {
      t.apply({ change: "new", link: link("a", 9) });
    },
  ],
  [
    "the old one's deletion seen after the new one",
    (t) => {
      t.apply({ change: "new", link: link("a", 9) });
      t.apply({ change: "deleted", link: link("a", 1) });
    },
  ],
  [
    "down and up",
    (t) => {
      t.apply({ change: "new", link: link("a", 1, false) });
      t.apply({ change: "new", link: link("a", 1) });
    },
  ],
  [
    "found anew by a full reading",
    (t) => {
      t.reset([link("a", 9)]);
    },
  ],
])("a link %s needs its routes again", (_how, change) => {
  const table = new LinkTable();
  table.reset([link("a", 1)]);
  change(table);
  expect([table.isUp("a"), table.isLost("a"), table.takeLost(), table.takeLost()]).toEqual([
    true,
    true,
    true,
    false,
  ]);
});

test.each<[string, (table: LinkTable) => void, (table: LinkTable) => void]>([
  [
    "removed and made again",
    (t) => t.apply({ change: "deleted", link: link("calia", 1) }),
    (t) => t.apply({ change: "new", link: link("calia", 1) }),
  ],
  [
    "down and up",
    (t) => t.apply({ change: "new", link: link("calia", 1, false) }),
    (t) => t.apply({ change: "new", link: link("calia", 1) }),
  ],
])(
  "a link %s, its return while a pass writes rules: lost till the next; where the pass saw it away, it is new",
  (_how, go, comeBack) => {
    const [table, wanted, reader] = [new LinkTable(), new Wanted(), {}];
    const state = stateOf(endpoint("a", ["10.0.0.1/32"]));
    const late = () => {
      wanted.update(state, (name) => table.isUp(name), table.takeTouched());
      return wanted.routes.take(reader);
    };
    table.reset([link("calia", 1)]);
    table.takeLost();
    late();
    go(table);
    expect(table.takeLost()).toBe(false); // the pass begins
    comeBack(table);
    expect([late(), table.isLost("calia"), table.takeLost()]).toEqual([new Set(), true, true]);
    go(table);
    table.takeLost();
    expect(late()).toEqual(new Set(["10.0.0.1/32"]));
    comeBack(table);
    expect([table.isLost("calia"), table.takeLost(), late()]).toEqual([
      false,
      false,
      new Set(["10.0.0.1/32"]),
    ]);
  },
);

/** Few addresses and interfaces, so that endpoints claim each other's. */
const anyPod = fc.record({
  pod: fc.constantFrom("a", "b", "c", "d"),
  ip: fc.constantFrom("10.0.0.1/32", "10.0.0.2/32", "fd00::1/128"),
  interfaceName: fc.constantFrom("cali1", "cali2", "eth0"),
  isGone: fc.boolean(),
  down: fc.constantFrom("cali1", "cali2", "none"),
  block: fc.constantFrom(undefined, "confirmed", "pending"),
  ipv6Support: fc.boolean(),
});

test("edited step by step, they are those of a node that is told all at once", () => {
  fc.assert(
    fc.property(fc.array(anyPod, { maxLength: 12 }), (steps) => {
      const [calc, edited] = [new Calc("n1"), new Wanted()];
      let lastDown = "none";
      for (const { pod, ip, interfaceName, isGone, down, block, ipv6Support } of steps) {
        const { key, value } = endpoint(pod, [ip], { interfaceName });
        calc.apply([isGone ? { key, value: undefined } : { key, value }, felix({ ipv6Support })]);
        if (block) calc.apply([affinity("10.0.0.0/26", block)]);
        const isUp = (name: string) => name !== down;
        const { routes, settings } = edited.update(calc.state(), isUp, new Set([lastDown, down]));
        lastDown = down;
        const anew = new Wanted().update(calc.state(), isUp);
        expect(new Map(routes)).toEqual(new Map(anew.routes));
        expect(new Map(settings)).toEqual(new Map(anew.settings));
      }
    }),
  );
});

test("which interfaces may have become others since they were asked about", () => {
  const table = new LinkTable();
  table.reset([link("a", 1)]);
  expect(table.takeTouched()).toBeUndefined(); // all
  table.apply({ change: "new", link: link("b", 2) });
  table.apply({ change: "deleted", link: link("a", 1) });
  expect([table.takeTouched(), table.takeTouched()]).toEqual([new Set(["a", "b"]), new Set()]);
});
