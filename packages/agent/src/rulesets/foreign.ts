import { isOfKubernetes, isOurTool } from "@margay/iptables";
import { type LegacyTable, legacyTable, legacyTables, NetlinkError } from "@margay/netlink";
import { type RuleChange, watchRules } from "@margay/nftables";
import { Paced } from "./paced.ts";
import type { Ruleset } from "./ruleset.ts";

export interface ForeignOptions {
  /** What was changed is ours, or stands before it. */
  readonly onForeign: (what: "rules" | "sets", why: string) => void;
  /** Others changed the table `filter` of iptables, wherever our rules are, and before any are. */
  readonly onFilter: () => void;
  readonly onError: (error: NetlinkError) => void;
}

/** Legacy tables tell nobody of changes: looked at so often, by one getsockopt a table. */
const LOOK_MS = 200;
/** ipsets tell nobody either: the sizes of all are looked at so often, or as seldom as keeps it to this share of a processor. */
const LOOK_AT_SETS_MS = 400;
const LOOK_AT_SETS_SHARE = 0.03;
/** And not more seldom: whatever else this process does meanwhile counts as well. */
const SELDOMEST_LOOK_AT_SETS_MS = 5000;
/** What comes together is one; the rules are read back this often at most while somebody keeps changing them. */
const PAUSE_MS = 250;
/** And the others' table filter: tools are started for it. */
const FILTER_PAUSE_MS = 1000;

/** Tells when somebody else changed the rules: of nf_tables because the kernel says so, of legacy tables and ipsets by looking. */
export class ForeignChanges {
  readonly #options: ForeignOptions;
  readonly #events: ReturnType<typeof watchRules>;
  readonly #timer: NodeJS.Timeout;
  #ruleset: Ruleset | undefined;
  #legacy: Look | undefined;
  #isWriting = false;
  #isClosed = false;
  #nextLookAtSets: NodeJS.Timeout | undefined;
  /** Of looks at sets, since the last that did not fail. */
  #failures = 0;
  readonly #told: Paced;
  readonly #filterTold: Paced;
  #filter = lookAtFilter();

  constructor(options: ForeignOptions) {
    this.#options = options;
    this.#told = new Paced(PAUSE_MS, (why) => options.onForeign("rules", why));
    this.#filterTold = new Paced(FILTER_PAUSE_MS, () => options.onFilter());
    this.#events = watchRules({
      onChange: (change) => this.#heed(change),
      isOurs: isOurTool,
      onOverflow: () => this.#ruleset && this.#told.ask("notifications of rules were lost"),
      onError: options.onError,
    });
    this.#timer = setInterval(() => this.#lookAtLegacy(), LOOK_MS).unref();
    void this.#lookAtSets();
  }

  /** A pass begins: fewer rules are our own doing, as far as legacy tables go. */
  writing(): void {
    this.#look();
    this.#isWriting = true;
  }

  /**
   * A pass has ended, and this is what keeps our rules. Builtin chains of another length than before it are looked into once
   * more, be it that we put our own hook there.
   */
  written(ruleset: Ruleset): void {
    const before = this.#legacy;
    this.#ruleset = ruleset;
    this.#isWriting = false;
    this.#legacy = ruleset.kind === "iptables-legacy" ? lookAtAll() : undefined;
    if (before && this.#legacy) this.#compare(before, this.#legacy, sameBuiltins);
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#nextLookAtSets);
    clearInterval(this.#timer);
    this.#told.close();
    this.#filterTold.close();
    this.#events.close();
  }

  #lookAtLegacy(): void {
    this.#look();
    this.#lookAtFilter();
  }

  #heed(change: RuleChange): void {
    const { family, table, chain = change.set ?? "" } = change;
    if (table === FILTER && !isOfKubernetes(chain)) this.#filterTold.ask(chain);
    if (!this.#ruleset?.concerns(change)) return;
    this.#told.ask(`table ${table} ${chain} (IPv${family}) ${change.change} by others`);
  }

  /** Of a legacy table that was not there, that is another now, or gone. */
  #lookAtFilter(): void {
    if (this.#ruleset && this.#ruleset.kind !== "nftables") return;
    const before = this.#filter;
    this.#filter = lookAtFilter();
    if (this.#filter !== before) this.#filterTold.ask(FILTER);
  }

  /** Only what may be ours: a builtin chain of another length, or fewer rules than there were. */
  #look(): void {
    const before = this.#legacy;
    if (!before || this.#isWriting) return;
    this.#legacy = lookAtAll();
    this.#compare(
      before,
      this.#legacy,
      (now, then) => now.entries >= then.entries && sameBuiltins(now, then),
    );
  }

  async #lookAtSets(): Promise<void> {
    const before = process.cpuUsage();
    const why = this.#isWriting ? undefined : await this.#whyReadSets();
    if (this.#isClosed) return;
    if (why !== undefined) this.#options.onForeign("sets", why);
    const { user, system } = process.cpuUsage(before);
    const wanted = Math.max(
      LOOK_AT_SETS_MS * 2 ** this.#failures,
      (user + system) / 1000 / LOOK_AT_SETS_SHARE,
    );
    const pause = Math.min(wanted, SELDOMEST_LOOK_AT_SETS_MS);
    this.#nextLookAtSets = setTimeout(() => void this.#lookAtSets(), pause).unref();
  }

  async #whyReadSets(): Promise<string | undefined> {
    try {
      const changed = (await this.#ruleset?.changedSets()) ?? [];
      this.#failures = 0;
      return changed.length > 0 ? `sets ${changed.join(", ")} changed by others` : undefined;
    } catch (error) {
      if (!(error instanceof NetlinkError)) throw error;
      this.#failures++;
      return `sets could not be looked at: ${error.message}`;
    }
  }

  #compare(before: Look, now: Look, isSame: (now: LegacyTable, then: LegacyTable) => boolean): void {
    for (const [key, then] of before) {
      const found = now.get(key);
      if (!found || !isSame(found, then)) this.#told.ask(`legacy table ${key} changed by others`);
    }
  }
}

/** The table of iptables in which others refuse packets. */
const FILTER = "filter";

/** By name and family. */
type Look = ReadonlyMap<string, LegacyTable>;

const sameBuiltins = (a: LegacyTable, b: LegacyTable): boolean =>
  a.builtins.every((size, hook) => size === b.builtins[hook]);

function lookAtAll(): Look {
  return new Map(
    ([4, 6] as const).flatMap((family) =>
      legacyTables(family).map((table) => [`${table} (IPv${family})`, legacyTable(family, table)] as const),
    ),
  );
}

/** How both families' legacy table filter looks from outside: another text, another table. */
const lookAtFilter = (): string =>
  JSON.stringify(
    ([4, 6] as const).map((family) =>
      legacyTables(family).includes(FILTER) ? legacyTable(family, FILTER) : undefined,
    ),
  );
