import { expect, test } from "@jest/globals";
import { forward, hostVerdict, type NodeState, type Packet, ruleIds } from "@margay/calc";
import fc from "fast-check";
import { render } from "./index.ts";
import { renderNftables } from "./nftables/index.ts";
import { anyHostJourney, anyHostState, anyInterface, anySent } from "./testing/arbitraries.ts";
import { walkNftablesHooks } from "./testing/nftables-walker.ts";
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
  const seen = { allow: 0, deny: 0, failsafe: 0, before: 0, vxlan: 0, staged: 0 };
  fc.assert(
    fc.property(
      anyHostState,
      fc.array(fc.tuple(anySent, anyHostJourney), { minLength: 20, maxLength: 20 }),
      (state, packets) => {
        const [rendered, tables] = [render(state), renderNftables(state)];
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
          const { target, ids } = walkNftablesHooks(tables, hooks, { ...packet, ...ways });
          expect({ target, ids: once(ids) }).toEqual({ target: walked.target, ids: once(walked.ids) });
          const reasons = evaluated.steps.filter(
            ({ action, rule }) => rule !== undefined && !(action === "pass" && rule.startsWith("tier/")),
          );
          seen.staged += walked.ids.some(isStaged) ? 1 : 0;
          expect(once(walked.ids.filter((id) => !isStaged(id)))).toEqual(
            once(reasons.map(({ rule = "" }) => rule)),
          );
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
  expect(seen.staged).toBeGreaterThan(100);
});

test("what is forwarded is asked wherever it comes in and goes out: one's allow is not the other's", () => {
  const seen = { allow: 0, deny: 0, afterWorkload: 0, afterHost: 0 };
  const ends = fc.record({ from: anyEnd, to: anyEnd });
  fc.assert(
    fc.property(
      anyHostState,
      fc.array(fc.tuple(anySent, ends), { minLength: 20, maxLength: 20 }),
      (state, packets) => {
        const [rendered, tables] = [render(state), renderNftables(state)];
        for (const [{ packet, sourceMac }, { from, to }] of packets) {
          const ways = { inInterface: from, outInterface: to, mac: sourceMac, isReversePath: true };
          const walked = walkHooks(rendered, HOOKS["ingress forward"], { ...packet, ...ways });
          const other = walkNftablesHooks(tables, HOOKS["ingress forward"], { ...packet, ...ways });
          expect(other.target).toBe(walked.target);
          const verdicts = through(state, packet, { from, to, sourceMac });
          const isAllowed = verdicts.every((verdict) => verdict === "allow");
          expect(walked.target === "ACCEPT").toBe(isAllowed);
          seen[isAllowed ? "allow" : "deny"]++;
          const isLast = verdicts.at(-1) === "deny" && verdicts.length > 1 && isHost(to);
          if (isLast) seen[isHost(from) ? "afterHost" : "afterWorkload"]++;
        }
      },
    ),
    { numRuns: 400 },
  );
  expect(Math.min(seen.allow, seen.deny)).toBeGreaterThan(1500);
  expect(Math.min(seen.afterWorkload, seen.afterHost)).toBeGreaterThan(20);
});

const HOSTS = ["eth0", "eth1"];
const isHost = (name: string): boolean => HOSTS.includes(name);
const anyEnd = fc.oneof(fc.constantFrom(...HOSTS), anyInterface);

/** What each that has a say answers, up to the first refusal. */
function through(
  state: NodeState,
  packet: Packet,
  { from, to, sourceMac }: { from: string; to: string; sourceMac: string },
): readonly string[] {
  const at = (interfaceName: string, direction: "ingress" | "egress") =>
    hostVerdict(state, packet, { interfaceName, direction, local: false }).verdict;
  const workloads = {
    ...(isHost(from) ? {} : { fromInterface: from, sourceMac }),
    ...(isHost(to) ? {} : { toInterface: to }),
  };
  const asked = [
    ...(isHost(from) ? [() => at(from, "ingress")] : []),
    () => forward(state, packet, workloads).verdict,
    ...(isHost(to) ? [() => at(to, "egress")] : []),
  ];
  const answers: string[] = [];
  for (const ask of asked) if (answers.at(-1) !== "deny") answers.push(ask());
  return answers;
}

/** Counted on the way, and deciding nothing. */
const isStaged = (id: string): boolean => id.startsWith("staged/");

/** A Log rule that is several iptables rules may match as more than one of them. */
const once = (ids: readonly string[]): readonly string[] =>
  ids.filter((id, i) => !SILENT.includes(id) && id !== ids[i - 1]);
