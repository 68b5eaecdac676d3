/** Every term of a session and of its policy, from the wanted peer to the wire: a row each, with two speakers. */
import { afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { formatAsPath, type Policy, type PolicyChange } from "@margay/bgp";
import { formatPrefix, parsePrefix } from "@margay/net";
import { unshared } from "@margay/testing";
import type { Self, WantedPeer } from "./config.ts";
import type { Speaker } from "./speaker.ts";
import { eventually } from "./testing/bird.ts";
import { Speakers, self, to } from "./testing/speakers.ts";

const prefix = "10.99.0.0/16";
const [ours, theirs] = [64512, 65000];

/** What the peer puts on all that it announces. */
const announces = (...set: PolicyChange[]): Partial<WantedPeer> => {
  const all: Policy = { statements: [{ match: {}, set, verdict: "accept" }], otherwise: "accept" };
  return { policyTerms: { export: all } };
};
const prepended = (as: number) => announces({ kind: "prepend", as, times: 1 });
const external: Partial<WantedPeer> = { localAs: ours, peerAs: theirs };
const back: Partial<WantedPeer> = { localAs: theirs, peerAs: ours };

unshared(import.meta.url, () => {
  const speakers = new Speakers();
  beforeAll(() => Speakers.addAddresses());
  afterEach(() => speakers.stop());

  /** `one`, configured with `here`, and `two`, with `there`. */
  async function pair(here: Partial<WantedPeer>, there: Partial<WantedPeer>, me: Partial<Self> = {}) {
    const one = await speakers.start(1, [to(1, 2, { ...external, ...here })], { me: self(1, me) });
    const two = await speakers.start(2, [to(2, 1, { ...back, ...there })], { me: self(2, { as: theirs }) });
    return { one, two };
  }
  const announce = (s: Speaker) => s.setOrigins(new Map([[prefix, parsePrefix(prefix)]]));
  /** The attributes of the prefix there, or why it is refused; undefined before it comes. */
  const heard = (s: Speaker) => {
    const found = [...s.ribs[4].entries()].find((e) => formatPrefix(e.prefix) === prefix)?.paths[0];
    return found && (found.attributes ?? found.refused);
  };
  const pathAt = (s: Speaker) => {
    const found = heard(s);
    return typeof found === "object" ? formatAsPath(found.asPath) : found;
  };
  const customer = { sessionTerms: { role: "customer" } } as const;
  const provider = { sessionTerms: { role: "provider" } } as const;

  describe("what we announce", () => {
    test.each<[string, Partial<WantedPeer>, unknown]>([
      ["no role: no mark", {}, expect.not.objectContaining({ onlyToCustomer: ours })],
      [
        "role provider: ONLY_TO_CUSTOMER, RFC 9234 §5",
        provider,
        expect.objectContaining({ onlyToCustomer: ours }),
      ],
    ])("%s", async (_why, here, expected) => {
      const { one, two } = await pair(here, {});
      announce(one);
      await eventually(() => Boolean(heard(two)), true);
      expect(heard(two)).toEqual(expected);
    });

    test.each<[string, Partial<WantedPeer>, Partial<WantedPeer>, string]>([
      ["nothing special", {}, {}, "64512 7 64999"],
      ["remove-private-as", { policyTerms: { removePrivateAs: "remove" } }, {}, "64512 7"],
      ["replaced", { policyTerms: { removePrivateAs: "replace" } }, {}, "64512 7 64512"],
      ["local-as", { localAs: 64600 }, { peerAs: 64600 }, "64600 7 64999"],
      [
        "local-as, both shown",
        { localAs: 64600, policyTerms: { showBothAses: true } },
        { peerAs: 64600 },
        "64600 64512 7 64999",
      ],
    ])("AS_PATH, %s", async (_why, here, there, expected) => {
      const { one, two } = await pair(here, there);
      const three = await speakers.start(3, [to(3, 1, { localAs: 64999, peerAs: ours, ...prepended(7) })], {
        me: self(3, { as: 64999 }),
      });
      one.setPeers(
        self(1),
        new Map([to(1, 2, { ...external, ...here }), to(1, 3, { ...external, peerAs: 64999 })]),
      );
      announce(three);
      await eventually(() => pathAt(two), expected);
    });
  });

  describe("what we learn", () => {
    test.each<[string, Partial<WantedPeer>, Partial<WantedPeer>, unknown]>([
      [
        "role customer: marked as from above, RFC 9234 §5",
        customer,
        {},
        expect.objectContaining({ onlyToCustomer: theirs }),
      ],
      ["without: not", {}, {}, expect.not.objectContaining({ onlyToCustomer: theirs })],
      ["allowed-local-as 0: a loop", {}, prepended(ours), expect.stringMatching(/AS loop/)],
      ["1: none", { allowedLocalAs: 1 }, prepended(ours), expect.objectContaining({ localPref: 100 })],
      [
        "local-as, both looked for: our own is a loop too",
        { localAs: 64600, policyTerms: { showBothAses: true } },
        { peerAs: 64600, ...prepended(ours) },
        expect.stringMatching(/AS loop: our AS 64512/),
      ],
    ])("%s", async (_why, here, there, expected) => {
      const { one, two } = await pair(here, there);
      announce(two);
      await eventually(() => heard(one), expected);
    });

    test.each<[boolean, unknown]>([
      [true, expect.stringMatching(/does not begin with AS 65000/)],
      [false, expect.objectContaining({ localPref: 100 })],
    ])("enforce-first-as %s", async (enforceFirstAs, expected) => {
      const { one, two } = await pair({ policyTerms: { enforceFirstAs } }, prepended(7));
      announce(two);
      await eventually(() => heard(one), expected);
    });
  });

  describe("what the session is", () => {
    const words = (s: Speaker) => [...s.peers.values()][0]?.faults.sent?.words;
    test.each<[string, Partial<WantedPeer>, Partial<WantedPeer>, string]>([
      ["roles that do not fit, RFC 9234 §4.2", provider, provider, "Role Mismatch"],
      [
        "role-required, and the peer has none",
        { sessionTerms: { role: "customer", roleRequired: true } },
        {},
        "Role Mismatch",
      ],
    ])("%s", async (_why, here, there, expected) => {
      const { one } = await pair(here, there);
      await eventually(() => words(one), expect.stringContaining(expected));
    });

    test("delay-open: ours waits for the peer's OPEN", async () => {
      const { one, two } = await pair(
        { sessionTerms: { delayOpenSeconds: 20 } },
        { sessionTerms: { delayOpenSeconds: 20 } },
      );
      await eventually(() => [one, two].map((s) => [...s.peers.values()][0]?.session.delaying), [true, true]);
    });

    test("extended messages, RFC 8654: agreed, and 4,096 bytes are not the limit", async () => {
      const communities = Array.from({ length: 1200 }, (_, i) => i + 1);
      const { one, two } = await pair({}, announces({ kind: "add-communities", values: communities }));
      announce(two);
      await eventually(() => heard(one), expect.objectContaining({ communities }));
    });
  });
});
