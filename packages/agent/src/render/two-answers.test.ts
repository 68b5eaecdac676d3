import { expect, test } from "@jest/globals";
import { forward, type NodeState, ruleIds } from "@margay/calc";
import { formatAddress } from "@margay/net";
import fc from "fast-check";
import { cohortsOf } from "../cohorts.ts";
import { render } from "./index.ts";
import { renderNftables } from "./nftables/index.ts";
import { anySent, anySets, anyState, type Sent } from "./testing/arbitraries.ts";
import { walkNftables } from "./testing/nftables-walker.ts";
import { walk } from "./testing/walker.ts";

/** Decisions that are not policy: the walk passes them, the evaluator does not name them. */
const SILENT: readonly string[] = [ruleIds.forwarded];

/** What is rendered for a state is kept, and stays when members of its sets are others: the second state has the first one's rules. */
const anyTwoStates = fc
  .tuple(anyState, anySets)
  .map(([state, sets]): [NodeState, NodeState] => [state, { ...state, sets }]);

test("the rules of both backends, and those of cohorts, walked and the policy evaluated give the same verdict for the same reasons, also when sets change", () => {
  const seen = { allow: 0, deny: 0, byPolicy: 0, staged: 0, vxlan: 0, members: 0 };
  const compare = (state: NodeState, packets: readonly Sent[]) => {
    const rendered = render(state);
    const tables = renderNftables(state);
    const cohorts = cohortsOf(state, { groupOf: () => undefined, isFresh: () => true });
    const tablesOfCohorts = renderNftables(state, cohorts);
    seen.members += cohorts.members.size;
    for (const sent of packets) {
      const { packet, fromInterface, toInterface, sourceMac } = sent;
      const evaluated = forward(state, packet, sent);
      const outInterface = toInterface ?? "eth0";
      const onItsWay = { ...packet, inInterface: fromInterface, outInterface, mac: sourceMac };
      const walked = walk(rendered, "filter/FORWARD", onItsWay);
      expect(walked.target === "ACCEPT" ? "allow" : "deny").toBe(evaluated.verdict);
      expect(walked.target).toBeDefined();
      seen[evaluated.verdict]++;
      const reasons = evaluated.steps.filter(
        ({ action, rule }) => rule !== undefined && !(action === "pass" && rule.startsWith("tier/")),
      );
      seen.byPolicy += reasons.some(({ policy }) => policy) ? 1 : 0;
      seen.staged += walked.ids.some(isStaged) ? 1 : 0;
      expect(once(walked.ids.filter((id) => !isStaged(id)))).toEqual(reasons.map(({ rule }) => rule));
      seen.vxlan += walked.ids.includes(ruleIds.vxlanFromWorkload) ? 1 : 0;
      const { target, ids } = walkNftables(tables, "FORWARD", onItsWay);
      expect({ target, ids }).toEqual({ target: walked.target, ids: walked.ids });
      const byGroup = walkNftables(tablesOfCohorts, "FORWARD", onItsWay, cohorts.groups);
      expect({ target: byGroup.target, ids: byGroup.ids }).toEqual({ target, ids });
    }
  };
  fc.assert(
    fc.property(anyTwoStates, fc.array(anySent, { minLength: 20, maxLength: 20 }), (states, packets) => {
      for (const state of [...states, plain(states[1])]) compare(state, packets);
    }),
    { numRuns: 500 },
  );
  // The universe is small enough that rules do meet packets.
  expect(Math.min(seen.allow, seen.deny, seen.byPolicy)).toBeGreaterThan(4000);
  expect(Math.min(seen.staged, seen.vxlan, seen.members)).toBeGreaterThan(100);
});

/** Most of its endpoints ask for nothing special and share no address, as those of cohorts. */
function plain(state: NodeState): NodeState {
  const taken = new Set<string>();
  const endpoints = state.endpoints.map((endpoint, i) => {
    const addresses = endpoint.addresses.filter((address) => !taken.has(formatAddress(address)));
    for (const address of addresses) taken.add(formatAddress(address));
    if (i > 2) return { ...endpoint, addresses };
    return { ...endpoint, addresses, spoofable: [], ok: true, mac: endpoint.mac ?? "02:00:00:00:00:01" };
  });
  return { ...state, endpoints };
}

/** Counted on the way, and deciding nothing. */
const isStaged = (id: string): boolean => id.startsWith("staged/");

/** A Log rule that is several iptables rules may match as more than one of them. */
const once = (ids: readonly string[]): readonly string[] =>
  ids.filter((id, i) => !SILENT.includes(id) && id !== ids[i - 1]);
