import { expect, test } from "@jest/globals";
import type { AnyResource } from "@margay/api";
import { unshared } from "@margay/testing";
import fc from "fast-check";
import { Kernel } from "./kernel.ts";
import {
  anyHostEndpoint,
  anyNetworkSet,
  anyPolicy,
  anyPool,
  anySettings,
  anyWorkload,
} from "./render/testing/accepted.ts";
import { stateWith } from "./render/testing/pods.ts";
import { BACKENDS } from "./rulesets/testing/backends.ts";

const raise = (error: Error): never => {
  throw error;
};
const nothing = () => undefined;

const NODES = 12;
const POLICIES = 150;

const many = <T>(count: number, one: (n: number) => fc.Arbitrary<T>) =>
  fc.tuple(...Array.from({ length: count }, (_, n) => one(n)));

unshared(import.meta.url, () => {
  test.each(["nftables", "iptables-nft", "iptables-legacy"] as const)(
    "%s: what the API takes, the kernel takes: no policy, endpoint or setting is refused",
    async (backend) => {
      const kernel = new Kernel({
        ...{ onChange: nothing, onLink: nothing, onAddress: nothing, onRoute: nothing, onLost: nothing },
        ...{
          onRepaired: nothing,
          onChosen: nothing,
          onLookFailed: nothing,
          onError: raise,
          onRemembered: raise,
        },
      });
      const node = fc.tuple(
        anySettings(BACKENDS[backend]),
        ...[many(POLICIES, anyPolicy), many(8, anyWorkload), many(3, anyHostEndpoint)],
        ...[many(2, anyPool), many(2, anyNetworkSet)],
      );
      const { seed } = fc.readConfigureGlobal();
      let policies = 0;
      for (const [settings, ...others] of fc.sample(node, { numRuns: NODES, seed: seed ?? 0 })) {
        if (!settings) continue;
        const all = [settings, ...others.flat()].filter((one): one is AnyResource => one !== undefined);
        policies += all.filter(({ kind }) => kind === "GlobalNetworkPolicy").length;
        const state = stateWith(all);
        await kernel.apply(state);
        const found = kernel.enforced(state).problems.filter((one) => !state.problems.includes(one));
        expect(found).toEqual([]);
      }
      expect(policies).toBeGreaterThan((NODES * POLICIES) / 3);
      await kernel.close();
    },
  );
});
