import type { Labels } from "@margay/api";
import { NAMESPACE_PREFIX, SERVICE_ACCOUNT_PREFIX } from "./scope.ts";

interface Item<T> {
  readonly own: Labels;
  readonly profiles: readonly string[];
  readonly payload: T;
}

/**
 * Labels with inheritance: an endpoint bears its own labels and those its profiles apply, such as its namespace's
 * under `pcns.`. A label of its own wins, except under those two prefixes: else a pod could pretend to be in another
 * namespace. `changed` is told whenever the outcome may differ; `payload` is handed through.
 * Without labels: a profile is there and cannot be read, so that nobody knows them.
 */
export class Inheritance<T> {
  readonly #changed: (id: string, labels: Labels | undefined, payload: T) => void;
  readonly #items = new Map<string, Item<T>>();
  readonly #itemsByProfile = new Map<string, Set<string>>();
  readonly #profiles = new Map<string, Labels | "unreadable">();

  constructor(changed: (id: string, labels: Labels | undefined, payload: T) => void) {
    this.#changed = changed;
  }

  setItem(id: string, own: Labels, { profiles, payload }: { profiles: readonly string[]; payload: T }): void {
    this.deleteItem(id);
    this.#items.set(id, { own: unforged(own), profiles, payload });
    for (const profile of profiles) {
      const ids = this.#itemsByProfile.get(profile) ?? new Set();
      this.#itemsByProfile.set(profile, ids.add(id));
    }
    this.#tell(id);
  }

  deleteItem(id: string): void {
    for (const profile of this.#items.get(id)?.profiles ?? []) {
      const ids = this.#itemsByProfile.get(profile);
      ids?.delete(id);
      if (ids?.size === 0) this.#itemsByProfile.delete(profile);
    }
    this.#items.delete(id);
  }

  /** The labels that a profile applies; undefined: there is no such profile. */
  setProfile(name: string, labels: Labels | "unreadable" | undefined): void {
    if (labels) this.#profiles.set(name, labels);
    else this.#profiles.delete(name);
    for (const id of this.#itemsByProfile.get(name) ?? []) this.#tell(id);
  }

  /** Different values of one own label among those that name a profile; undefined for those without. */
  readonly valuesUnder = (profile: string, label: string): ReadonlySet<string | undefined> => {
    const ids = this.#itemsByProfile.get(profile) ?? [];
    return new Set([...ids].map((id) => this.#items.get(id)?.own[label]));
  };

  /** What a profile applies; undefined: it cannot be read. */
  readonly labelsOf = (profile: string): Labels | undefined => {
    const labels = this.#profiles.get(profile) ?? {};
    return labels === "unreadable" ? undefined : labels;
  };

  /** The first profile that gives a label wins. */
  #tell(id: string): void {
    const item = this.#items.get(id);
    if (!item) return;
    this.#changed(id, this.#labelsOf(item), item.payload);
  }

  #labelsOf({ own, profiles }: Item<T>): Labels | undefined {
    let labels: Labels = own;
    for (const profile of profiles) {
      const inherited = this.labelsOf(profile);
      if (inherited === undefined) return undefined;
      labels = { ...inherited, ...labels };
    }
    return labels;
  }
}

const isForged = (name: string): boolean =>
  name.startsWith(NAMESPACE_PREFIX) || name.startsWith(SERVICE_ACCOUNT_PREFIX);

const unforged = (own: Labels): Labels =>
  Object.keys(own).some(isForged)
    ? Object.fromEntries(Object.entries(own).filter(([name]) => !isForged(name)))
    : own;
