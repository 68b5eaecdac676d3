import type { NodeState } from "@margay/calc";
import { type Counter, Iptables, ipsetTarget } from "@margay/iptables";
import { Netlink, setGroups } from "@margay/netlink";
import { Nftables } from "@margay/nftables";
import { reconcile, Tracked } from "@margay/reconcile";
import { cohortsOf } from "../../cohorts.ts";
import { render } from "../index.ts";
import { renderNftables } from "../nftables/index.ts";

export interface Loader {
  /** Puts a state into the kernel of this namespace, which is read the first time alone. */
  readonly apply: (state: NodeState) => Promise<void>;
  /** Packets by rule id. */
  readonly packets: () => Promise<ReadonlyMap<string, number>>;
}

/** By a backend: `legacy`, `nft` or `nftables`. */
export function loader(backend: string | undefined): Loader {
  const { apply, counters } =
    backend === "nftables" ? byNftables() : byIptables(backend === "legacy" ? "legacy" : "nft");
  return {
    apply,
    packets: async () => new Map([...(await counters())].map(([id, { packets }]) => [id, packets])),
  };
}

interface Loading extends Pick<Loader, "apply"> {
  readonly counters: () => Promise<ReadonlyMap<string, Counter>>;
}

function byNftables(): Loading {
  const tables = new Nftables({ table: "margay" });
  const tracked = new Tracked(tables.target());
  const netlink = Netlink.open();
  return {
    apply: async (state) => {
      const there = new Map((await netlink.links()).map(({ name, group }) => [name, group]));
      const links = { groupOf: (name: string) => there.get(name), isFresh: () => true };
      const cohorts = cohortsOf(state, links);
      await reconcile([tracked.to(renderNftables(state, cohorts))]);
      await setGroups(netlink, cohorts.groups);
    },
    counters: () => tables.counters(),
  };
}

function byIptables(backend: "legacy" | "nft"): Loading {
  const of = (family: 4 | 6) => {
    const tables = new Iptables({ family, backend, prefix: "margay-" });
    const prefix = `margay${family}-`;
    return {
      ...{ tables, prefix, sets: new Tracked(ipsetTarget({ prefix })) },
      ...{ chains: new Tracked(tables.chains()), hooks: new Tracked(tables.hooks()) },
    };
  };
  const [four, six] = [of(4), of(6)];
  const apply = async (state: NodeState) => {
    const { chains4, chains6, hooks4, hooks6, ipsets } = render(state);
    const setsOf = ({ prefix }: typeof four) =>
      new Map([...ipsets].filter(([name]) => name.startsWith(prefix)));
    await reconcile([
      ...[four, six].map((one) => one.sets.to(setsOf(one))),
      ...[four.chains.to(chains4), six.chains.to(chains6)],
      ...[four.hooks.to(hooks4), six.hooks.to(hooks6)],
    ]);
  };
  return { apply, counters: () => four.tables.counters() };
}
