import { expect, test } from "@jest/globals";
import { hostVerdict, ruleIds } from "@margay/calc";
import fc from "fast-check";
import { render } from "./index.ts";
import { anyHostJourney, anyHostState, anySent } from "./testing/arbitraries.ts";
import { walkHooks } from "./testing/walker.ts";

/** Rules that decide nothing new, and decisions that need no rule. */
const SILENT: readonly string[] = [ruleIds.allowedBefore, ruleIds.hostForward, ruleIds.forwarded];

const HOOKS = {
  "ingress local": ["raw/PREROUTING", "mangle/PREROUTING", "filter/INPUT"],
  "ingress forward": ["raw/PREROUTING", "mangle/PREROUTING", "filter/FORWARD"],
  "egress local": ["raw/OUTPUT", "filter/OUTPUT"],
  "egress forward": ["filter/FORWARD"],
} as const;

test("the rules walked and the policy of host endpoints evaluated give the same verdict for the same reasons", () => {
  const seen = { allow: 0, deny: 0, failsafe: 0, before: 0, vxlan: 0 };
  fc.assert(
    fc.property(
      anyHostState,
      fc.array(fc.tuple(anySent, anyHostJourney), { minLength: 20, maxLength: 20 }),
      (state, packets) => {
        const rendered = render(state);
        for (const [{ packet }, journey] of packets) {
          const { interfaceName, direction, local } = journey;
          const evaluated = hostVerdict(state, packet, journey);
          const isIn = direction === "ingress";
          // The loopback, which is under no policy, is where forwarded packets go to or come from.
          const ways = {
            inInterface: isIn ? interfaceName : "lo",
            outInterface: isIn ? "lo" : interfaceName,
          };
          const hooks = HOOKS[`${direction} ${local ? "local" : "forward"}`];
          const walked = walkHooks(rendered, hooks, { ...packet, ...ways });
          const reasons = evaluated.steps.filter(
            ({ action, rule }) => rule !== undefined && !(action === "pass" && rule.startsWith("tier/")),
          );
          expect(once(walked.ids)).toEqual(once(reasons.map(({ rule = "" }) => rule)));
          expect(walked.target === "ACCEPT" ? "allow" : "deny").toBe(evaluated.verdict);
          seen[evaluated.verdict]++;
          seen.failsafe += walked.ids.some((id) => id.startsWith("failsafe/")) ? 1 : 0;
          seen.vxlan += walked.ids.includes(ruleIds.vxlanFromOutside) ? 1 : 0;
          seen.before += walked.ids.includes(ruleIds.allowedBefore) ? 1 : 0;
        }
      },
    ),
    { numRuns: 400 },
  );
  expect(Math.min(seen.allow, seen.deny)).toBeGreaterThan(1500);
  expect(Math.min(seen.failsafe, seen.before)).toBeGreaterThan(20);
  expect(seen.vxlan).toBeGreaterThan(5);
});

/** A Log rule that is several iptables rules may match as more than one of them. */
const once = (ids: readonly string[]): readonly string[] =>
  ids.filter((id, i) => !SILENT.includes(id) && id !== ids[i - 1]);
