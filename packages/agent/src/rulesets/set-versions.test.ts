import { expect, test } from "@jest/globals";
import { Calc } from "@margay/calc";
import type { Chain } from "@margay/iptables";
import { Parts } from "@margay/reconcile";
import { type Rendered, render } from "../render/index.ts";
import { base, resource, updateOf } from "../render/testing/pods.ts";
import { SetVersions } from "./set-versions.ts";

const chain = (target: string): Chain => ({
  rules: [{ match: ["-m", "set", "--match-set", "s", "src"], target: ["-j", target] }],
});
/** As where workloads are dispatched. */
const to = (interfaceName: string, target: string): Chain => ({
  rules: [{ match: ["-o", interfaceName, "-m", "set", "--match-set", "s", "src"], target: ["-j", target] }],
});
const policy = { "filter/margay-in-1": chain("ACCEPT") };
const other = { "filter/margay-in-1": chain("DROP") };
const none = new Map();

/** `s` is one set, by its members; `t` another that never changes. */
const KEPT = { type: "hash:net", family: 4, members: new Set<string>() } as const;
const sets = new Map<string, typeof KEPT>();
function rendered(members: string, chains: Record<string, Chain>): Rendered {
  const s = sets.get(members) ?? { ...KEPT, members: new Set([members]) };
  sets.set(members, s);
  return {
    ...{ chains4: new Map(Object.entries(chains)), chains6: none, hooks4: none, hooks6: none },
    ipsets: new Map([
      ["s", s],
      ["t", KEPT],
    ]),
  };
}

type Step = readonly [members: string, chains: Record<string, Chain>, fails?: "fails"];

test.each<[why: string, steps: readonly Step[], names: string]>([
  [
    "members alone: the set itself",
    [
      ["1", policy],
      ["2", policy],
    ],
    "s",
  ],
  [
    "rules alone: no other set",
    [
      ["1", policy],
      ["1", other],
    ],
    "s",
  ],
  [
    "both: another name",
    [
      ["1", policy],
      ["2", other],
    ],
    "s-b",
  ],
  [
    "members alone after that: the name that it has",
    [
      ["1", policy],
      ["2", other],
      ["3", other],
    ],
    "s-b",
  ],
  [
    "both once more: the first name",
    [
      ["1", policy],
      ["2", other],
      ["3", policy],
    ],
    "s",
  ],
  [
    "a pod's own rules, in a chain with others'",
    [
      ["1", { ...policy, "filter/margay-to-wl": to("calia", "A") }],
      ["2", { ...policy, "filter/margay-to-wl": to("calia", "B") }],
    ],
    "s-b",
  ],
  [
    "the same, and they move to another chain since more pods come",
    [
      ["1", { ...policy, "filter/margay-to-wl": to("calia", "A") }],
      ["2", { ...policy, "filter/margay-to-wl": chain("A"), "filter/margay-td-cali": to("calia", "B") }],
    ],
    "s-b",
  ],
  [
    "they move, and say what they said",
    [
      ["1", { ...policy, "filter/margay-to-wl": to("calia", "A") }],
      ["2", { ...policy, "filter/margay-to-wl": chain("A"), "filter/margay-td-cali": to("calia", "A") }],
    ],
    "s",
  ],
  [
    "a pod that comes: it has no packets yet",
    [
      ["1", { ...policy, "filter/margay-to-wl": to("calia", "A") }],
      ["2", { ...policy, "filter/margay-to-wl": to("calib", "B") }],
    ],
    "s",
  ],
  [
    "rules of a pass that failed may not be there yet",
    [
      ["1", policy],
      ["1", other, "fails"],
      ["2", other],
    ],
    "s-b",
  ],
  [
    "what such a pass renamed keeps its name",
    [
      ["1", policy],
      ["2", other, "fails"],
      ["3", other],
    ],
    "s-b",
  ],
])("%s", (_why, steps, name) => {
  const versions = new SetVersions();
  let last: Rendered | undefined;
  for (const [members, chains, fails] of steps) {
    last = versions.next(rendered(members, chains));
    if (!fails) versions.settled();
  }
  expect([...(last?.ipsets.keys() ?? [])]).toEqual([name, "t"]);
  for (const { rules } of last?.chains4.values() ?? []) expect(rules[0]?.match).toContain(name);
});

test("a policy that changes renames no set that its change is not about, as they are rendered", () => {
  const calc = new Calc("n1");
  const policy = (action: string) =>
    updateOf(resource("NetworkPolicy", "p", { selector: "app == 'a'", ingress: [{ action }] }));
  const pool = resource("IPPool", "p4", { cidr: "10.244.0.0/16", natOutgoing: true });
  calc.apply([...base(), pool].map(updateOf));
  calc.apply([policy("Deny")]);
  const versions = new SetVersions();
  const before = versions.next(render(calc.state()));
  versions.settled();
  calc.apply([policy("Allow")]);
  const after = versions.next(render(calc.state()));
  expect([...after.ipsets.keys()]).toEqual([...before.ipsets.keys()]);
});

test("a pod's rules that move out of a part of chains that goes, and change", () => {
  const versions = new SetVersions();
  const inParts = (members: string, parts: Record<string, Record<string, Chain>>): Rendered => ({
    ...rendered(members, {}),
    chains4: new Parts(
      new Map(Object.entries(parts).map(([id, part]) => [id, new Map(Object.entries(part))])),
    ),
  });
  versions.next(
    inParts("1", {
      root: { "filter/margay-to-wl": chain("A") },
      below: { "filter/margay-td-cali": to("calia", "A") },
    }),
  );
  versions.settled();
  const { ipsets } = versions.next(inParts("2", { root: { "filter/margay-to-wl": to("calia", "B") } }));
  expect([...ipsets.keys()]).toEqual(["s-b", "t"]);
});
