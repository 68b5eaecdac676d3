import type { LocalEndpoint, NodeState } from "@margay/calc";
import type { Counter } from "@margay/iptables";
import { type Item, itemKey, Nftables, parseKey, type RuleChange, ruleHash } from "@margay/nftables";
import { Tracked, type Work } from "@margay/reconcile";
import type { Cohorts } from "../render/cohort.ts";
import { itemsOf, renderNftables } from "../render/nftables/index.ts";
import type { Refusal } from "./refusal.ts";
import type { OnRepaired, Ruleset } from "./ruleset.ts";
import { telling } from "./telling.ts";

export const TABLE = "margay";

/** Tables of our own in nf_tables. */
export class NftablesRuleset implements Ruleset {
  readonly kind = "nftables";
  readonly #tables = new Nftables({ table: TABLE });
  readonly #items: Tracked<Item>;

  constructor(onRepaired: OnRepaired) {
    const named = (keys: readonly string[]) => onRepaired(keys.map(spoken));
    this.#items = new Tracked(telling(this.#tables.target(), named));
  }

  works(state: NodeState, cohorts?: Cohorts): readonly Work[] {
    return [this.#items.to(renderNftables(state, cohorts))];
  }

  asks(state: NodeState, refusal: Refusal | undefined, cohorts?: Cohorts): boolean {
    const items = renderNftables(state, cohorts);
    if (refusal?.kind !== "rule") return false;
    const item = items.get(itemKey(refusal.family, "chain", refusal.chain));
    return item?.kind === "chain" && item.rules.some((rule) => ruleHash(rule) === refusal.rule);
  }

  /** What a pass writes is one transaction. */
  settled(): void {}

  /** The whole tables at once. */
  nothing(): readonly Work[] {
    return [
      {
        name: "nftables",
        refresh: async () => undefined,
        put: async () => 0,
        remove: async () => {
          await this.#tables.clear();
          return 0;
        },
      },
    ];
  }

  /** They are one. */
  distrust(): void {
    this.#items.distrust();
  }

  counters(): Promise<ReadonlyMap<string, Counter>> {
    return this.#tables.counters();
  }

  async differing(endpoint: LocalEndpoint, state: NodeState, cohorts: Cohorts): Promise<readonly string[]> {
    const reader = new Nftables({ table: TABLE });
    try {
      const target = reader.target();
      const there = await target.list();
      return [...itemsOf(endpoint, state, cohorts)].flatMap(([key, item]) => {
        const found = there.get(key);
        return found && target.same(found, item) ? [] : [spoken(key)];
      });
    } finally {
      reader.close();
    }
  }

  concerns({ table, port }: RuleChange): boolean {
    return table === TABLE && port !== this.#tables.port;
  }

  /** The kernel tells of these. */
  async changedSets(): Promise<readonly string[]> {
    return [];
  }

  async close(): Promise<void> {
    this.#tables.close();
  }
}

function spoken(key: string): string {
  const { family, kind, name } = parseKey(key);
  return `${kind} ${name} (IPv${family})`;
}
