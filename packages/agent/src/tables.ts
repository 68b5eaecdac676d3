import type { FelixSettings } from "@margay/api";
import { type Chain, type Counter, type Hook, type IpSet, Iptables, ipsetTarget } from "@margay/iptables";
import type { Family } from "@margay/net";
import { Tracked, type Work } from "@margay/reconcile";
import type { Rendered } from "./render/index.ts";
import { together } from "./together.ts";

const PREFIX = "margay-";

type Setting = FelixSettings["iptablesBackend"];

const backends = { Auto: "auto", NFT: "nft", Legacy: "legacy" } as const satisfies Record<Setting, string>;

interface Rules {
  readonly iptables: Iptables;
  readonly chains: Tracked<Chain>;
  readonly hooks: Tracked<Hook>;
}

/** Our rules and sets in the kernel's packet filter, in one backend; a change of backend moves them. */
export class Tables {
  readonly #ipsets: Tracked<IpSet> = new Tracked(ipsetTarget({ prefix: "margay" }));
  #setting: Setting | undefined;
  #rules: Readonly<Record<Family, Rules>> | undefined;
  /** Of a backend given up: emptied once the new one has everything. */
  #former: readonly Rules[] = [];

  distrustSets(): void {
    this.#ipsets.distrust();
  }

  distrustRules(): void {
    for (const { chains, hooks } of Object.values(this.#rules ?? {})) {
      chains.distrust();
      hooks.distrust();
    }
  }

  /** In the order of dependency: a chain names sets, a hook names chains. */
  works(rendered: Rendered, setting: Setting): readonly Work[] {
    const { 4: four, 6: six } = this.#rulesOf(setting);
    return [
      this.#ipsets.to(rendered.ipsets),
      together("chains", [four.chains.to(rendered.chains4), six.chains.to(rendered.chains6)]),
      together("hooks", [four.hooks.to(rendered.hooks4), six.hooks.to(rendered.hooks6)]),
      ...this.#former.flatMap(({ chains, hooks }) => [chains.to(new Map()), hooks.to(new Map())]),
    ];
  }

  /** Which of these chains the kernel has otherwise or not at all; read anew, whatever is believed. */
  async differing(wanted: ReadonlyMap<string, Chain>, family: Family): Promise<string[]> {
    const mine = this.#rules?.[family].iptables;
    if (!mine) return [...wanted.keys()];
    const reader = new Iptables({ family, backend: await mine.backend(), prefix: PREFIX });
    const target = reader.chains();
    const there = await target.list();
    await reader.close();
    return [...wanted].flatMap(([key, chain]) => {
      const found = there.get(key);
      return found && target.same(found, chain) ? [] : [key];
    });
  }

  /** Packets and bytes by rule id, of both families. Reads all of the kernel's rules. */
  async counters(): Promise<ReadonlyMap<string, Counter>> {
    const sums = new Map<string, Counter>();
    for (const { iptables } of Object.values(this.#rules ?? {}))
      for (const [id, { packets, bytes }] of await iptables.counters()) {
        const sum = sums.get(id) ?? { packets: 0, bytes: 0 };
        sums.set(id, { packets: sum.packets + packets, bytes: sum.bytes + bytes });
      }
    return sums;
  }

  /** After a pass that succeeded: nothing of a former backend is left. */
  async settled(): Promise<void> {
    const former = this.#former;
    this.#former = [];
    for (const { iptables } of former) await iptables.close();
  }

  /** Ends the tools kept open; what they wrote stays. */
  async close(): Promise<void> {
    for (const { iptables } of [...this.#former, ...Object.values(this.#rules ?? {})]) await iptables.close();
  }

  #rulesOf(setting: Setting): Readonly<Record<Family, Rules>> {
    if (this.#rules && this.#setting === setting) return this.#rules;
    this.#former = [...this.#former, ...Object.values(this.#rules ?? {})];
    this.#setting = setting;
    this.#rules = { 4: rulesOf(4, setting), 6: rulesOf(6, setting) };
    return this.#rules;
  }
}

function rulesOf(family: Family, setting: Setting): Rules {
  const iptables = new Iptables({ family, backend: backends[setting], prefix: PREFIX });
  return { iptables, chains: new Tracked(iptables.chains()), hooks: new Tracked(iptables.hooks()) };
}
