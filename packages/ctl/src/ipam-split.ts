import { type IPPool, parse } from "@margay/api";
import { resources, type Store } from "@margay/datastore";
import { formatPrefix, parsePrefix, prefixSize } from "@margay/net";
import { CtlError } from "./error.ts";
import { dump, type Form, type Terminal } from "./terminal.ts";

export interface SplitRequest {
  /** A power of two. */
  readonly parts: number;
  /** The pool, by its name or its range. */
  readonly name?: string | undefined;
  readonly cidr?: string | undefined;
  readonly output: Form;
}

/**
 * `margay ipam split`: one pool becomes several equal ones with its settings; blocks and addresses stay as they are. Every
 * address lies in a pool at every moment; in between no new one is given out:
 *
 *     disable the pool ─► make the parts, disabled ─► delete the pool ─► enable the parts
 *
 * Each part knows what it was made from, so that the same command finishes what a failure left. Throws CtlError `usage` or
 * `not-found`.
 */
export async function split(store: Store, request: SplitRequest, terminal: Terminal): Promise<void> {
  if (request.name === undefined && request.cidr === undefined)
    throw new CtlError("usage", "say which pool: --name or --cidr");
  const pools = resources(store, "IPPool");
  const whole = (await pools.list()).find(
    ({ metadata, spec }) => metadata.name === request.name || spec.cidr === request.cidr,
  );
  const origin = whole?.metadata.name ?? request.name;
  if (whole) {
    const parts = partsOf(whole, request);
    await pools.apply(disabled(whole));
    for (const part of parts) await pools.apply(part);
    await pools.delete(whole.metadata.name);
  }
  const made = (await pools.list()).filter((pool) => annotations(pool)[ORIGIN] === origin);
  if (!origin || made.length === 0)
    throw new CtlError("not-found", `there is no pool ${request.name ?? request.cidr}`);
  for (const part of made) await pools.apply(finished(part));
  const names = made.map(({ metadata, spec }) => ({ name: metadata.name, cidr: spec.cidr }));
  if (request.output !== "table") return terminal.print(dump(request.output, names));
  terminal.print(names.map(({ name, cidr }) => `${name} ${cidr}`).join("\n"));
}

/** On a part until it is finished: the pool it was made from. */
const ORIGIN = "margay.dev/split-of";
/** On the pool and its parts meanwhile: what `disabled` was, and will be. */
const DISABLED = "margay.dev/split-disabled";

const annotations = ({ metadata }: IPPool): Readonly<Record<string, string>> => metadata.annotations ?? {};

function partsOf(pool: IPPool, { parts }: SplitRequest): IPPool[] {
  const range = parsePrefix(pool.spec.cidr);
  const length = range.length + Math.log2(parts);
  if (!Number.isInteger(length) || parts < 2)
    throw new CtlError("usage", `${parts} is no power of two above 1`);
  if (length > (pool.spec.blockSize ?? length))
    throw new CtlError("usage", `pool ${pool.metadata.name} has fewer than ${parts} blocks`);
  const size = prefixSize({ ...range, length });
  return Array.from({ length: parts }, (_, i) => {
    const cidr = formatPrefix({ ...range, bits: range.bits + BigInt(i) * size, length });
    const { spec, metadata } = disabled(pool);
    const labels = metadata.labels && { labels: metadata.labels };
    const marks = { ...metadata.annotations, [ORIGIN]: pool.metadata.name };
    const named = { name: `split-${pool.metadata.name}-${i}`, ...labels, annotations: marks };
    return checked({ ...pool, metadata: named, spec: { ...spec, cidr } });
  });
}

/** Gives nothing out, and remembers whether it did. */
function disabled(pool: IPPool): IPPool {
  const was = annotations(pool)[DISABLED] ?? String(pool.spec.disabled);
  const metadata = { ...pool.metadata, annotations: { ...annotations(pool), [DISABLED]: was } };
  return { ...pool, metadata, spec: { ...pool.spec, disabled: true } };
}

function finished(pool: IPPool): IPPool {
  const { [ORIGIN]: _, [DISABLED]: was, ...kept } = annotations(pool);
  const metadata = { ...pool.metadata, annotations: kept };
  return { ...pool, metadata, spec: { ...pool.spec, disabled: was === "true" } };
}

const checked = (pool: IPPool): IPPool => parse(pool).resource as IPPool; // a pool goes in
