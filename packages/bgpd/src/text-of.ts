/** Text that is equal for equal values, bigints too: for keys and comparisons of configuration. */
export const textOf = (value: unknown): string =>
  JSON.stringify(value, (_key, v: unknown) => (typeof v === "bigint" ? `${v}n` : v));
