import { setDifference } from "@margay/reconcile";
import { IptablesError } from "./error.ts";
import { canonicalMembers, type IpSet, type SavedSet } from "./set.ts";

/** A set of ours gets this capacity, Calico's MaxIpsetSize, or the next power of two that holds it. */
const MAX_ELEMENTS = 1 << 20;
/** IPSET_MAXNAMELEN, less its NUL. */
const NAME_LENGTH = 31;

/** What `ipset restore -exist` must read, and what the sets are afterwards. */
export interface SetPut {
  readonly input: string;
  readonly after: ReadonlyMap<string, SavedSet>;
}

/**
 * From the known sets to the wanted (pure). A set that lives changes by its differences, additions first; one that
 * must grow is filled under a temporary name and swapped. One whose type changes is destroyed and made anew: the
 * kernel swaps only sets of one type, and refuses to destroy a set that a rule still names.
 */
export function setPut(
  known: ReadonlyMap<string, SavedSet>,
  wanted: ReadonlyMap<string, IpSet>,
  prefix: string,
): SetPut {
  const after = new Map<string, SavedSet>();
  const lines: string[] = [];
  const temporary = `${prefix}tmp`; // bears our prefix: one left by a crash is listed as ours and removed
  for (const [name, set] of wanted) {
    assertName(name, prefix);
    const old = known.get(name);
    const alike = old?.type === set.type && old.family === set.family;
    const members = canonicalMembers(set, alike ? old.members : undefined);
    const next: SavedSet = {
      type: set.type,
      family: set.family,
      members,
      maxElements: capacity(members.size),
    };
    const { gone, fresh } = setDifference(alike ? old.members : NOTHING, members);
    if (alike && old.members.size + fresh.length <= old.maxElements) {
      lines.push(...fresh.map((member) => `add ${name} ${member}`));
      lines.push(...gone.map((member) => `del ${name} ${member}`));
      after.set(name, { ...next, maxElements: old.maxElements });
      continue;
    }
    if (alike) lines.push(...swap(name, next, { temporary, left: known.has(temporary) }));
    else lines.push(...(old ? [`destroy ${name}`] : []), ...create(name, next));
    after.set(name, next);
  }
  return { input: text(lines), after };
}

function assertName(name: string, prefix: string): void {
  if (name.startsWith(prefix) && name.length <= NAME_LENGTH && !/\s/.test(name)) return;
  const reason = `set ${JSON.stringify(name)}: want ${prefix}..., at most ${NAME_LENGTH} characters`;
  throw new IptablesError("invalid", { tool: "ipset", reason });
}

const NOTHING: ReadonlySet<string> = new Set();

const capacity = (size: number): number =>
  Math.max(MAX_ELEMENTS, 2 ** Math.ceil(Math.log2(Math.max(1, size))));

function create(name: string, { type, family, members, maxElements }: SavedSet): string[] {
  const head = `create ${name} ${type} family ${family === 4 ? "inet" : "inet6"} maxelem ${maxElements}`;
  return [head, ...Array.from(members, (member) => `add ${name} ${member}`)];
}

function swap(
  name: string,
  next: SavedSet,
  { temporary, left }: { temporary: string; left: boolean },
): string[] {
  const clear = left ? [`destroy ${temporary}`] : [];
  return [...clear, ...create(temporary, next), `swap ${temporary} ${name}`, `destroy ${temporary}`];
}

/** What `ipset restore` must read to destroy sets. */
export const setRemove = (names: readonly string[]): string => text(names.map((name) => `destroy ${name}`));

const text = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join("");
