import type { NodeState } from "@margay/calc";
import { Iptables, ipsetTarget } from "@margay/iptables";
import { Nftables } from "@margay/nftables";
import { reconcile, Tracked } from "@margay/reconcile";
import { render } from "../index.ts";
import { renderNftables } from "../nftables/index.ts";

/** Puts states into the kernel of this namespace by a backend: `legacy`, `nft` or `nftables`. Resolves to packets by rule id. */
export function loader(
  backend: string | undefined,
): (state: NodeState) => Promise<ReadonlyMap<string, number>> {
  const load = backend === "nftables" ? byNftables() : byIptables(backend === "legacy" ? "legacy" : "nft");
  return async (state) => new Map([...(await load(state))].map(([id, { packets }]) => [id, packets]));
}

function byNftables() {
  const tables = new Nftables({ table: "margay" });
  return async (state: NodeState) => {
    await reconcile([new Tracked(tables.target()).to(renderNftables(state))]);
    return tables.counters();
  };
}

function byIptables(backend: "legacy" | "nft") {
  const of = (family: 4 | 6) => new Iptables({ family, backend, prefix: "margay-" });
  const [four, six] = [of(4), of(6)];
  return async (state: NodeState) => {
    const { chains4, chains6, hooks4, hooks6, ipsets } = render(state);
    const setsOf = (prefix: string) => new Map([...ipsets].filter(([name]) => name.startsWith(prefix)));
    await reconcile([
      ...["margay4-", "margay6-"].map((prefix) => new Tracked(ipsetTarget({ prefix })).to(setsOf(prefix))),
      new Tracked(four.chains()).to(chains4),
      new Tracked(six.chains()).to(chains6),
      new Tracked(four.hooks()).to(hooks4),
      new Tracked(six.hooks()).to(hooks6),
    ]);
    return four.counters();
  };
}
