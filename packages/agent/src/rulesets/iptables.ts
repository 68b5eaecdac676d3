import type { LocalEndpoint, NodeState } from "@margay/calc";
import {
  type Backend,
  type Chain,
  type Counter,
  type Hook,
  hasLine,
  type IpSet,
  Iptables,
  ipsetTarget,
} from "@margay/iptables";
import type { Family } from "@margay/net";
import { setSizes } from "@margay/netlink";
import type { RuleChange } from "@margay/nftables";
import { Tracked, type Work } from "@margay/reconcile";
import { chainsOf } from "../audit.ts";
import { render } from "../render/index.ts";
import { together } from "../together.ts";
import type { Refusal } from "./refusal.ts";
import type { OnRepaired, Ruleset, RulesetKind } from "./ruleset.ts";
import { SetVersions } from "./set-versions.ts";
import { telling } from "./telling.ts";

const PREFIX = "margay-";
/** Tables of nf_tables that iptables-nft keeps, and the chains there that we hook into. */
const TABLES: readonly string[] = ["filter", "nat", "mangle", "raw"];
const BUILTINS: readonly string[] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];

interface Rules {
  readonly iptables: Iptables;
  readonly chains: Tracked<Chain>;
  readonly hooks: Tracked<Hook>;
}

/** iptables of one backend in both families, and ipsets. */
export class IptablesRuleset implements Ruleset {
  readonly kind: Ruleset["kind"];
  readonly #rules: Readonly<Record<Family, Rules>>;
  readonly #sets = ipsetTarget({ prefix: "margay" });
  readonly #ipsets: Tracked<IpSet>;
  readonly #versions = new SetVersions();

  constructor(backend: Backend, onRepaired: OnRepaired) {
    this.kind = `iptables-${backend}`;
    this.#ipsets = new Tracked(
      telling(this.#sets, (names) => onRepaired(names.map((name) => `set ${name}`))),
    );
    this.#rules = { 4: rulesOf(4, backend, onRepaired), 6: rulesOf(6, backend, onRepaired) };
  }

  works(state: NodeState): readonly Work[] {
    const { chains4, chains6, hooks4, hooks6, ipsets } = this.#versions.next(render(state));
    const { 4: four, 6: six } = this.#rules;
    return [
      this.#ipsets.to(ipsets),
      together("chains", [four.chains.to(chains4), six.chains.to(chains6)]),
      together("hooks", [four.hooks.to(hooks4), six.hooks.to(hooks6)]),
    ];
  }

  asks(state: NodeState, refusal: Refusal | undefined): boolean {
    const { chains4, chains6, ipsets } = this.#versions.named(render(state));
    switch (refusal?.kind) {
      case "line":
        return [chains4, chains6].some((chains) =>
          TABLES.some((table) => {
            const chain = chains.get(`${table}/${refusal.chain}`);
            return chain !== undefined && hasLine(chain.rules, PREFIX, refusal.text);
          }),
        );
      case "member": {
        const set = ipsets.get(refusal.set);
        return set !== undefined && (refusal.member === undefined || set.members.has(refusal.member));
      }
      default:
        return false;
    }
  }

  settled(): void {
    this.#versions.settled();
  }

  /** Both backends of iptables use the same ipsets. */
  nothing(next: RulesetKind): readonly Work[] {
    return [
      ...(next === "nftables" ? [this.#ipsets.to(new Map())] : []),
      ...Object.values(this.#rules).flatMap(({ chains, hooks }) => [
        chains.to(new Map()),
        hooks.to(new Map()),
      ]),
    ];
  }

  distrust(what: "rules" | "sets"): void {
    if (what === "sets") this.#ipsets.distrust();
    else
      for (const { chains, hooks } of Object.values(this.#rules)) {
        chains.distrust();
        hooks.distrust();
      }
  }

  async counters(): Promise<ReadonlyMap<string, Counter>> {
    const sums = new Map<string, Counter>();
    for (const { iptables } of Object.values(this.#rules))
      for (const [id, { packets, bytes }] of await iptables.counters()) {
        const sum = sums.get(id) ?? { packets: 0, bytes: 0 };
        sums.set(id, { packets: sum.packets + packets, bytes: sum.bytes + bytes });
      }
    return sums;
  }

  async differing(endpoint: LocalEndpoint, state: NodeState): Promise<readonly string[]> {
    const { chains4, chains6 } = this.#versions.named(render(state));
    const lost = async (family: Family, chains: ReadonlyMap<string, Chain>) =>
      (await this.#differing(chainsOf(endpoint, chains), family)).map((key) => `chain ${key} (IPv${family})`);
    return [...(await lost(4, chains4)), ...(state.config.ipv6Support ? await lost(6, chains6) : [])];
  }

  async #differing(wanted: ReadonlyMap<string, Chain>, family: Family): Promise<string[]> {
    const backend = await this.#rules[family].iptables.backend();
    const reader = new Iptables({ family, backend, prefix: PREFIX });
    const target = reader.chains();
    const there = await target.list();
    await reader.close();
    return [...wanted].flatMap(([key, chain]) => {
      const found = there.get(key);
      return found && target.same(found, chain) ? [] : [key];
    });
  }

  /** A change in a chain of another program's is none of our business; one in a builtin chain may stand before our hook. */
  concerns({ table, chain, set, change }: RuleChange): boolean {
    if (set !== undefined || !TABLES.includes(table)) return false;
    if (chain === undefined) return change === "deleted";
    return chain.startsWith(PREFIX) || BUILTINS.includes(chain);
  }

  /** Nothing is said while we write: what was read then may be of before. */
  async changedSets(): Promise<readonly string[]> {
    const known = this.#sets.known();
    if (!known || known.size === 0) return [];
    const sizes = await setSizes();
    if (this.#sets.known() !== known) return [];
    return [...known].flatMap(([name, { members }]) => (sizes.get(name) === members.size ? [] : [name]));
  }

  async close(): Promise<void> {
    for (const { iptables } of Object.values(this.#rules)) await iptables.close();
  }
}

function rulesOf(family: Family, backend: Backend, onRepaired: OnRepaired): Rules {
  const iptables = new Iptables({ family, backend, prefix: PREFIX });
  const named = (kind: string) => (keys: readonly string[]) =>
    onRepaired(keys.map((key) => `${kind} ${key} (IPv${family})`));
  return {
    iptables,
    chains: new Tracked(telling(iptables.chains(), named("chain"))),
    hooks: new Tracked(telling(iptables.hooks(), named("hook in"))),
  };
}
