import type { LocalEndpoint, NodeState } from "@margay/calc";
import type { Counter } from "@margay/iptables";
import type { NetlinkError } from "@margay/netlink";
import type { Work } from "@margay/reconcile";
import type { Cohorts } from "./render/cohort.ts";
import { type Choice, choose, leftRulesets, type NftablesMode, rulesetOf } from "./rulesets/choose.ts";
import { ForeignChanges } from "./rulesets/foreign.ts";
import type { Refusal } from "./rulesets/refusal.ts";
import type { OnRepaired, Ruleset } from "./rulesets/ruleset.ts";

export interface TablesOptions {
  /** Instead of FelixConfiguration's. */
  readonly nftablesMode?: NftablesMode | undefined;
  /** Somebody else changed rules that concern us: they are distrusted already, run a pass. */
  readonly onForeign: (why: string) => void;
  readonly onRepaired: OnRepaired;
  /** Where the rules will be from now on. */
  readonly onChosen: (choice: Choice) => void;
  /** What others keep in iptables could not be looked at; it is tried again. */
  readonly onLookFailed: (error: unknown, retryInMs: number) => void;
  /** Changes by others are no longer told. */
  readonly onError: (error: NetlinkError) => void;
}

/** The setting by which the host decides. */
const AUTO = "Auto Auto";
const LOOK_AGAIN_MS = 10_000;

/** Our rules and sets in the kernel's packet filter, in one ruleset; a change of the settings moves them to another. */
export class Tables {
  readonly #options: TablesOptions;
  readonly #foreign: ForeignChanges;
  /** The settings that the ruleset was chosen by. */
  #setting: string | undefined;
  /** What `Auto` looked at may be otherwise than when it was last looked at; somebody is looking; and what he found. */
  #isDoubted = false;
  #looking: Promise<void> | undefined;
  #found: Choice | undefined;
  #again: NodeJS.Timeout | undefined;
  #isClosed = false;
  #ruleset: Ruleset | undefined;
  /** Given up, or left by an agent before us: taken away once the chosen one has everything. */
  #former: readonly Ruleset[] = [];

  constructor(options: TablesOptions) {
    this.#options = options;
    this.#foreign = new ForeignChanges({
      onForeign: (what, why) => {
        this.distrust(what);
        options.onForeign(why);
      },
      onFilter: () => this.#doubt(),
      onError: options.onError,
    });
  }

  distrust(what: "rules" | "sets"): void {
    this.#ruleset?.distrust(what);
    if (what === "rules") this.#doubt();
  }

  /**
   * What makes the kernel enforce a state. What a former ruleset had goes when the chosen one is whole, and before the sets that
   * nobody wants any more: both backends of iptables have the same. `cohortsOn`: by the ruleset that was chosen.
   */
  async works(
    state: NodeState,
    cohortsOn: (kind: Ruleset["kind"]) => Cohorts | undefined,
  ): Promise<readonly Work[]> {
    const ruleset = await this.#choose(state);
    this.#foreign.writing();
    const cohorts = cohortsOn(ruleset.kind);
    return [
      ...ruleset.works(state, cohorts),
      ...this.#former.flatMap((former) => former.nothing(ruleset.kind)),
    ];
  }

  /** As the ruleset of the last pass says. */
  asks(state: NodeState, refusal: Refusal | undefined, cohorts?: Cohorts): boolean {
    return this.#ruleset?.asks(state, refusal, cohorts) ?? false;
  }

  /** After a pass that succeeded: nothing of a former ruleset is left. */
  async settled(): Promise<void> {
    const former = this.#former;
    this.#former = [];
    this.#ruleset?.settled();
    if (this.#ruleset) this.#foreign.written(this.#ruleset);
    for (const ruleset of former) await ruleset.close();
  }

  /** What of one workload's rules the kernel has otherwise or not at all. */
  async differing(endpoint: LocalEndpoint, state: NodeState, cohorts: Cohorts): Promise<readonly string[]> {
    return this.#ruleset ? this.#ruleset.differing(endpoint, state, cohorts) : ["any rules"];
  }

  async counters(): Promise<ReadonlyMap<string, Counter>> {
    return this.#ruleset ? this.#ruleset.counters() : new Map();
  }

  /** Where the rules are; undefined before the first pass. */
  get kind(): Ruleset["kind"] | undefined {
    return this.#ruleset?.kind;
  }

  /** Lets go of the kernel, which keeps all it has. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#again);
    this.#foreign.close();
    await this.#looking;
    for (const ruleset of [...this.#former, ...(this.#ruleset ? [this.#ruleset] : [])]) await ruleset.close();
  }

  #doubt(): void {
    this.#isDoubted = true;
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
  }

  /**
   * Beside the passes, which must not wait for tools nor fail with them. What comes meanwhile is looked at once more. Who has gone to
   * iptables stays there: others' rules come and go.
   */
  async #look(): Promise<void> {
    while (this.#isDoubted && this.#setting === AUTO && this.#ruleset?.kind === "nftables") {
      this.#isDoubted = false;
      const choice = await choose({ nftablesMode: "Auto", iptablesBackend: "Auto" }).catch((error) =>
        this.#lookAgain(error),
      );
      if (this.#isClosed || !choice || choice.kind === "nftables") continue;
      this.#found = choice;
      return this.#options.onForeign(choice.because);
    }
  }

  #lookAgain(error: unknown): undefined {
    this.#options.onLookFailed(error, LOOK_AGAIN_MS);
    clearTimeout(this.#again);
    if (!this.#isClosed) this.#again = setTimeout(() => this.#doubt(), LOOK_AGAIN_MS).unref();
  }

  async #choose({ config }: NodeState): Promise<Ruleset> {
    const nftablesMode = this.#options.nftablesMode ?? config.nftablesMode;
    const setting = `${nftablesMode} ${config.iptablesBackend}`;
    const isOther = setting !== this.#setting;
    if (this.#ruleset && !isOther && !this.#found) return this.#ruleset;
    const choice =
      (isOther ? undefined : this.#found) ??
      (await choose({ nftablesMode, iptablesBackend: config.iptablesBackend }));
    const { kind } = choice;
    this.#found = undefined;
    this.#setting = setting;
    const before = this.#ruleset;
    if (before?.kind === kind) return before;
    this.#options.onChosen(choice);
    const left = before ? [before] : await leftRulesets(kind);
    const former = [...this.#former, ...left];
    this.#ruleset = former.find((one) => one.kind === kind) ?? rulesetOf(kind, this.#options.onRepaired);
    for (const what of ["rules", "sets"] as const) this.#ruleset.distrust(what);
    this.#former = former.filter((one) => one !== this.#ruleset);
    if (this.#isDoubted) this.#doubt(); // told while it was chosen
    return this.#ruleset;
  }
}
