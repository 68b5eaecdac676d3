import type { Labels, Restriction } from "@margay/api";

/** Ids filed under label values. A value that one id bears alone, as a pod's own name, costs no set. */
interface Values {
  readonly byValue: Map<string, string | Set<string>>;
  total: number;
}

/** Which ids bear a label, and which bear it with a value. */
export class LabelMap {
  readonly #labels = new Map<string, Values>();

  add(id: string, labels: Labels): void {
    for (const label in labels) this.#add(id, label, labels[label]!); // a key of labels
  }

  remove(id: string, labels: Labels): void {
    for (const label in labels) this.#remove(id, label, labels[label]!); // a key of labels
  }

  /** How many ids meet a restriction. */
  count({ label, values }: Restriction): number {
    const known = this.#labels.get(label);
    if (!known || !values) return known?.total ?? 0;
    return values.reduce((sum, value) => sum + sizeOf(known.byValue.get(value)), 0);
  }

  /** The ids that meet a restriction. */
  *of({ label, values }: Restriction): Generator<string> {
    const known = this.#labels.get(label);
    for (const value of values ?? known?.byValue.keys() ?? []) {
      const ids = known?.byValue.get(value);
      if (typeof ids === "string") yield ids;
      else if (ids) yield* ids;
    }
  }

  #add(id: string, label: string, value: string): void {
    let known = this.#labels.get(label);
    if (!known) {
      known = { byValue: new Map(), total: 0 };
      this.#labels.set(label, known);
    }
    known.total++;
    const ids = known.byValue.get(value);
    if (ids === undefined) known.byValue.set(value, id);
    else if (typeof ids === "string") known.byValue.set(value, new Set([ids, id]));
    else ids.add(id);
  }

  #remove(id: string, label: string, value: string): void {
    const known = this.#labels.get(label);
    const ids = known?.byValue.get(value);
    if (!known || ids === undefined) return;
    known.total--;
    if (typeof ids !== "string") ids.delete(id);
    if (typeof ids === "string" || ids.size === 0) known.byValue.delete(value);
    if (known.total === 0) this.#labels.delete(label);
  }
}

const sizeOf = (ids: string | Set<string> | undefined): number =>
  ids === undefined ? 0 : typeof ids === "string" ? 1 : ids.size;
