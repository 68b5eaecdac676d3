import { expect, test } from "@jest/globals";
import { Calc } from "@margay/calc";
import { parseKey } from "@margay/nftables";
import { changedKeys, partsOfSet } from "@margay/reconcile";
import { base, resource, updateOf } from "../testing/pods.ts";
import { renderNftables } from "./index.ts";

const peer = (n: number) =>
  resource(
    "WorkloadEndpoint",
    `peer${n}`,
    {
      ...{ orchestrator: "k8s", node: "n2", pod: `peer${n}`, endpoint: "eth0", profiles: [] },
      ...{ interfaceName: `cali${n}`, ipNetworks: [`10.9.0.${n}/32`] },
    },
    { role: "peer" },
  );
const nets = resource("GlobalNetworkSet", "nets", { nets: ["192.0.2.0/24"] }, { role: "peer" });
const policy = (action: string) =>
  resource("GlobalNetworkPolicy", "p", {
    ...{ selector: "app == 'a'", types: ["Ingress"] },
    ingress: [{ action, source: { selector: "role == 'peer'" } }],
  });
const other = resource("GlobalNetworkPolicy", "p", {
  ...{ selector: "app == 'a'", types: ["Ingress"] },
  ingress: [{ action: "Allow", source: { notSelector: "role == 'peer'" } }],
});

const calcWith = (...all: Parameters<typeof updateOf>[0][]): Calc => {
  const calc = new Calc("n1");
  calc.apply([...base(), ...all].map(updateOf));
  return calc;
};

/** What the policy's rules ask of sets. */
function asked(calc: Calc): string[] {
  const items = renderNftables(calc.state());
  const [chain] = [...items].filter(([key]) => key.startsWith("4/chain/filter-in-")).map(([, item]) => item);
  const rules = chain?.kind === "chain" ? chain.rules : [];
  return rules.map(({ match }) =>
    match
      .flatMap((one) =>
        one.match === "set"
          ? [`${one.not ? "not " : ""}${one.set.endsWith("-nets") ? "nets" : "addresses"}`]
          : [],
      )
      .join(", "),
  );
}

test.each([
  ["addresses alone: one lookup", [peer(1), policy("Allow")], ["addresses"]],
  ["networks alone: one lookup", [nets, policy("Allow")], ["nets"]],
  ["both: a rule for either", [peer(1), nets, policy("Allow")], ["addresses", "nets"]],
  ["neither of both: one rule", [peer(1), nets, other], ["not addresses, not nets"]],
  // Whoever is in both is logged once.
  ["a log of both", [peer(1), nets, policy("Log")], ["addresses", "nets, not addresses"]],
])("%s", (_why, all, expected) => {
  expect(asked(calcWith(...all)).filter((sets) => sets !== "")).toEqual(expected);
});

test("an address more in a set that holds networks is one in a hash: the intervals are the same object", () => {
  const calc = calcWith(peer(1), nets, policy("Allow"));
  const before = renderNftables(calc.state());
  calc.apply([updateOf(peer(2))]);
  const changed = [...changedKeys(before, renderNftables(calc.state()))].filter((key) =>
    key.startsWith("4/"),
  );
  expect(changed.map((key) => [parseKey(key).kind, key.endsWith("-nets")])).toEqual([["set", false]]);
});

test("an address more in a large set is one part of it made anew", () => {
  const many = (count: number) =>
    resource(
      "GlobalNetworkSet",
      "nets",
      { nets: ["192.0.2.0/24", ...Array.from({ length: count }, (_, i) => `10.8.${i >> 8}.${i & 255}`)] },
      { role: "peer" },
    );
  const calc = calcWith(many(3000), policy("Allow"));
  const partsIn = () => {
    const large = [...renderNftables(calc.state()).values()].find(
      (item) => item.kind === "set" && item.members.size > 2000,
    );
    return large?.kind === "set" ? partsOfSet(large.members) : new Map();
  };
  const before = partsIn();
  calc.apply([updateOf(peer(1))]);
  const now = partsIn();
  expect(
    [...now].filter(([id, part]) => before.get(id) !== part).map(([, part]) => part.has("10.9.0.1")),
  ).toEqual([true]);
});
