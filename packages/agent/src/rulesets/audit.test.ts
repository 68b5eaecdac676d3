import { execFileSync } from "node:child_process";
import { expect, test } from "@jest/globals";
import { reconcile } from "@margay/reconcile";
import { unshared } from "@margay/testing";
import { cohortsOf } from "../cohorts.ts";
import { NOBODY } from "../render/cohort.ts";
import * as names from "../render/names.ts";
import { resource, stateWith } from "../render/testing/pods.ts";
import { rulesetOf } from "./choose.ts";

const sh = (script: string): string =>
  execFileSync("sh", ["-ec", `PATH=$PATH:/usr/sbin:/sbin; ${script}`], { encoding: "utf8" });

unshared(import.meta.url, () => {
  const other = names.chains.ingress("np/x/p").replace("margay-", "");
  test.each([
    [
      "nftables" as const,
      NOBODY,
      `nft flush chain ip margay filter-fw-calia; nft delete element ip6 margay filter-to-wl '{ calia }'; nft flush chain ip margay filter-${other}`,
      ["chain filter-fw-calia (IPv4)", "map filter-to-wl (IPv6)"],
    ],
    [
      "nftables" as const,
      undefined,
      "nft delete element ip margay pod-addresses '{ 10.244.0.1 . calia }'; nft flush chain ip6 margay filter-to-cohort",
      ["set pod-addresses (IPv4)", "chain filter-to-cohort (IPv6)"],
    ],
    [
      "iptables-nft" as const,
      NOBODY,
      `iptables-nft -F margay-from-wl; ip6tables-nft -D margay-to-wl 1; iptables-nft -F margay-${other}`,
      ["chain filter/margay-from-wl (IPv4)", "chain filter/margay-to-wl (IPv6)"],
    ],
  ])(
    "%s: an audit names what one workload's packets would miss, and no policy of other workloads",
    async (kind, given, harm, expected) => {
      const state = stateWith([
        resource("NetworkPolicy", "p", { selector: "app == 'b'", ingress: [{ action: "Allow" }] }),
      ]);
      const [a] = state.endpoints;
      if (!a) throw new Error("pod a has an endpoint");
      const ruleset = rulesetOf(kind, () => undefined);
      const cohorts = given ?? cohortsOf(state, { groupOf: () => undefined, isFresh: () => true });
      await reconcile(ruleset.works(state, cohorts));
      expect(await ruleset.differing(a, state, cohorts)).toEqual([]);
      sh(harm);
      expect(await ruleset.differing(a, state, cohorts)).toEqual(expected);
      await reconcile(ruleset.nothing("iptables-legacy"));
      await ruleset.close();
    },
  );
});
