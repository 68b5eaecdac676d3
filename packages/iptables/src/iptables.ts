import type { Family } from "@margay/net";
import type { Target } from "@margay/reconcile";
import { type Backend, detectBackend, toolName } from "./backend.ts";
import { IptablesError, type IptablesErrorCode } from "./error.ts";
import { hookEdit, hookFound, sameHook } from "./hook.ts";
import {
  byTable,
  commit,
  type Edit,
  edits,
  firstRefused,
  putInput,
  removeInput,
  splitInput,
  splitKey,
  tried,
} from "./restore.ts";
import { RestoreStream } from "./restore-stream.ts";
import { type Chain, type Counter, type Hook, type Line, linesOf, markOf, sameRules } from "./rule.ts";
import { parseSave, type SavedChain } from "./save.ts";
import { type Run, run } from "./tool.ts";

/** Which rules of which kernel an `Iptables` owns. */
export interface IptablesOptions {
  readonly family: Family;
  /** `auto` looks at the host once, at the first use. */
  readonly backend: Backend | "auto";
  /** Path of a network namespace; our own by default. */
  readonly namespace?: string;
  /** Our chains begin with it; its rules' comments with it and a colon for the dash. */
  readonly prefix: string;
  /** Tables to read and write. Default filter and nat, mangle, raw. */
  readonly tables?: readonly string[];
  /** How long to wait for another program's xtables lock (legacy only). Default 10. */
  readonly lockWaitSeconds?: number;
  /** Path of the xtables lock where /run/xtables.lock cannot be opened (legacy in a user namespace). */
  readonly lockFile?: string;
  /** Start the restore tool for every transaction, instead of keeping one open. Default false. */
  readonly oneShot?: boolean;
}

/** A read-back serves `chains().list()` and `hooks().list()` of one pass if they come within this. */
const READ_AGE_MS = 100;

/** One family of one kernel's iptables, as two reconcile targets and a counter read. */
export class Iptables {
  readonly #options: IptablesOptions;
  readonly #mark: string;
  #backend: Promise<Backend> | undefined;
  #known = new Map<string, readonly Line[]>();
  /** Tables that iptables-save could not read the last time. */
  #unreadable: readonly string[] = [];
  #stream: Promise<RestoreStream | undefined> | undefined;
  #read: { readonly at: number; readonly chains: Map<string, SavedChain> } | undefined;

  constructor(options: IptablesOptions) {
    this.#options = options;
    this.#mark = markOf(options.prefix);
  }

  /** The backend in use; detects it if it is `auto`. */
  backend(): Promise<Backend> {
    const { backend, namespace } = this.#options;
    this.#backend ??= backend === "auto" ? detectBackend(namespace) : Promise.resolve(backend);
    return this.#backend;
  }

  /** Our chains, keyed `<table>/<chain>`. A put is one restore; each table changes at once. */
  chains(): Target<Chain> {
    return {
      name: `chains${this.#options.family}`,
      list: () => this.#listChains(),
      put: (wanted) => this.#putChains(wanted),
      remove: (keys) => this.#removeChains(keys),
      same: (actual, wanted) => sameChain(actual, wanted, this.#mark),
    };
  }

  /** Our rules inside builtin chains, keyed `<table>/<CHAIN>`; foreign rules there stay as they are. */
  hooks(): Target<Hook> {
    return {
      name: `hooks${this.#options.family}`,
      list: () => this.#listHooks(),
      put: (wanted) => this.#putHooks(wanted),
      remove: (keys) => this.#putHooks(new Map(keys.map((key) => [key, { rules: [] }]))),
      same: (actual, wanted) => sameHook(actual, wanted, this.#mark),
    };
  }

  /** Packets and bytes by rule id, summed over our rules of all tables that bear the id. */
  async counters(): Promise<Map<string, Counter>> {
    const sums = new Map<string, Counter>();
    for (const { rules } of (await this.#save("-c")).values()) {
      for (const { ours, counter } of rules) {
        if (ours?.id === undefined || counter === undefined) continue;
        const { packets, bytes } = sums.get(ours.id) ?? { packets: 0, bytes: 0 };
        sums.set(ours.id, { packets: packets + counter.packets, bytes: bytes + counter.bytes });
      }
    }
    return sums;
  }

  /** Ends the open restore tool; it also ends with our process. */
  async close(): Promise<void> {
    (await this.#stream)?.close();
    this.#stream = undefined;
  }

  async #listChains(): Promise<Map<string, Chain>> {
    const ours = [...(await this.#recentRead())].filter(([key]) =>
      splitKey(key).name.startsWith(this.#options.prefix),
    );
    // A rule that somebody else put into a chain of ours has no hash of ours: its text stands in, and never matches.
    const lines = (chain: SavedChain) =>
      chain.rules.map(({ spec, ours: o }) => ({ hash: o?.hash ?? spec, spec }));
    this.#known = new Map(ours.map(([key, chain]) => [key, lines(chain)]));
    return new Map(
      [...this.#known].map(([key, l]) => [key, { rules: [], hashes: l.map(({ hash }) => hash) }]),
    );
  }

  /**
   * First the small edit from what we believe is there. If the kernel refuses it, we may have been wrong: then
   * all of each chain. If that is too long for one transaction, in small ones.
   */
  async #putChains(wanted: ReadonlyMap<string, Chain>): Promise<void> {
    for (const key of wanted.keys()) this.#assertOurs(key);
    const small = edits(this.#known, wanted, this.#mark);
    const whole = () => edits(new Map(), wanted, this.#mark);
    for (const key of wanted.keys()) this.#known.delete(key);
    await this.#restore(putInput(small))
      .catch(on(["rejected", "too-long"], () => this.#restore(putInput(whole()))))
      .catch(on(["too-long"], () => this.#restore(splitInput(whole()))))
      .catch(on(["rejected"], (error) => this.#nameCulprit(error, whole())));
    for (const [key, chain] of wanted) this.#known.set(key, linesOf(chain.rules, this.#mark));
  }

  /** Legacy's kernel does not say which rule it refuses: they are tried, by halves, in a chain that nobody calls. */
  async #nameCulprit(error: IptablesError, all: readonly Edit[]): Promise<never> {
    if (error.facts.text !== "COMMIT") throw error;
    const { prefix } = this.#options;
    const name = `${prefix}try`;
    for (const [table, these] of Map.groupBy(all, ({ key }) => splitKey(key).table)) {
      const trial = `${table}/${name}`;
      const isTaken = async (some: readonly string[]): Promise<boolean> => {
        const input = putInput([
          { key: trial, declare: `:${name} - [0:0]`, lines: tried(some, name, prefix) },
        ]);
        return this.#restore(input).then(
          () => true,
          on(["rejected"], async () => false),
        );
      };
      const text = await firstRefused(
        these.flatMap(({ lines }) => lines),
        isTaken,
      );
      await this.#restore(removeInput([trial]));
      if (text !== undefined) throw new IptablesError("rejected", { ...error.facts, text });
    }
    throw error;
  }

  async #removeChains(keys: readonly string[]): Promise<void> {
    for (const key of keys) this.#assertOurs(key);
    for (const key of keys) this.#known.delete(key);
    await this.#restore(removeInput(keys));
  }

  #assertOurs(key: string): void {
    const { prefix } = this.#options;
    this.#assertReadable(key);
    if (splitKey(key).name.startsWith(prefix)) return;
    throw new IptablesError("invalid", { tool: "chain", reason: `${key} does not begin with ${prefix}` });
  }

  /** What we cannot read back we do not write: rules would pile up. */
  #assertReadable(key: string): void {
    const { table } = splitKey(key);
    if (!this.#unreadable.includes(table)) return;
    const reason = `table ${table} was made by nft itself and holds what iptables cannot read; it can have no rules of ours`;
    throw new IptablesError("incompatible", { tool: "iptables-nft-save", reason });
  }

  async #listHooks(): Promise<Map<string, Hook>> {
    const saved = [...(await this.#recentRead())].filter(([, chain]) => chain.builtin);
    return new Map(
      saved.flatMap(([key, chain]) => {
        const hook = hookFound(chain);
        return hook === undefined ? [] : [[key, hook] as const];
      }),
    );
  }

  /** Reads first, always: what to delete is what stands there now. */
  async #putHooks(wanted: ReadonlyMap<string, Hook>): Promise<void> {
    const saved = await this.#save();
    for (const key of wanted.keys()) this.#assertReadable(key);
    const all = [...wanted].map(([key, hook]) => ({
      key,
      lines: hookEdit(key, saved.get(key), hook, this.#mark),
    }));
    await this.#restore(byTable(all, (these) => [commit(these.flatMap(({ lines }) => lines))]));
  }

  /** The last read-back if it is fresh and nothing was written since. */
  async #recentRead(): Promise<Map<string, SavedChain>> {
    if (this.#read === undefined || performance.now() - this.#read.at > READ_AGE_MS) {
      this.#read = { at: performance.now(), chains: await this.#save() };
    }
    return this.#read.chains;
  }

  async #save(...flags: readonly string[]): Promise<Map<string, SavedChain>> {
    const { family, namespace, tables = ["filter", "nat", "mangle", "raw"] } = this.#options;
    const job = { tool: toolName(family, await this.backend(), "save"), namespace, env: this.#env() };
    const text = await Promise.all(tables.map((table) => run({ ...job, args: ["-t", table, ...flags] })));
    this.#unreadable = tables.filter((_, i) => text[i]?.includes("is incompatible, use 'nft' tool"));
    return parseSave(text.join(""), this.#mark);
  }

  /** One transaction a table, through the open tool if it is one that answers, else through one of its own. */
  async #restore(input: string): Promise<void> {
    this.#read = undefined;
    if (input === "") return;
    this.#stream ??= this.#openStream();
    const stream = await this.#stream;
    if (stream !== undefined) await stream.send(input, this.#timeoutMs());
    else await run({ ...(await this.#restoreJob()), input, timeoutMs: this.#timeoutMs() });
    this.#read = undefined;
  }

  async #openStream(): Promise<RestoreStream | undefined> {
    return this.#options.oneShot ? undefined : RestoreStream.open(await this.#restoreJob());
  }

  async #restoreJob(): Promise<Run> {
    const { family, namespace, lockWaitSeconds = 10 } = this.#options;
    const tool = toolName(family, await this.backend(), "restore");
    return { tool, args: ["--noflush", "--wait", String(lockWaitSeconds)], namespace, env: this.#env() };
  }

  #env(): Readonly<Record<string, string>> {
    const { lockFile } = this.#options;
    return lockFile === undefined ? {} : { XTABLES_LOCKFILE: lockFile };
  }

  #timeoutMs(): number {
    return 60_000 + (this.#options.lockWaitSeconds ?? 10) * 1000;
  }
}

function sameChain(actual: Chain, wanted: Chain, mark: string): boolean {
  if (actual.hashes === undefined) return sameRules(actual.rules, wanted.rules);
  const lines = linesOf(wanted.rules, mark);
  return lines.length === actual.hashes.length && lines.every(({ hash }, i) => hash === actual.hashes?.[i]);
}

/** A handler that tries something else after the given failures and passes on all others. */
const on =
  <T>(codes: readonly IptablesErrorCode[], retry: (error: IptablesError) => Promise<T>) =>
  (error: unknown): Promise<T> => {
    if (error instanceof IptablesError && codes.includes(error.code)) return retry(error);
    throw error;
  };
