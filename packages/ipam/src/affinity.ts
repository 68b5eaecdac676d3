import { ApiError, type BlockAffinity, encode, type IPAMBlock } from "@margay/api";
import {
  alreadyDecoded,
  type Change,
  type Entry,
  type Revision,
  resourceOf,
  type Store,
  StoreError,
} from "@margay/datastore";
import { affinityOf, type Block, disown, isEmpty } from "./block.ts";
import { keepJournal } from "./former.ts";
import { cooling } from "./journal.ts";
import { affinityKey, affinityName, type BlockView, blockKey, blockResource } from "./view.ts";

/** Where affinities and blocks of one node are written. */
export interface Site {
  readonly store: Store;
  readonly node: string;
  readonly view: BlockView;
  readonly now: () => Date;
  /** So long a freed address rests: its block, and the journal in it, stay as long. */
  readonly cooldownSeconds: number;
}

/*
 * The affinity of a node to a block, written around the block so that a crash anywhere leaves a state that
 * says what was going on:
 *
 *   (none) --claim, with the block--> pending --> confirmed --release--> pendingDeletion --block gone or disowned--> (none)
 *
 * Only `confirmed` counts for BGP export and blackhole routes. `heal` takes any state to its end, and a `pending` without its block,
 * which others than this version leave, back.
 */

/** After `writeTogether`: counts from now on. Whoever else has finished or given back the claim meanwhile has the last word. */
export async function confirmClaim(site: Site, cidr: string): Promise<void> {
  const pending = site.view.affinities().get(cidr);
  if (!(await writeAffinity(site, cidr, "confirmed", pending?.revision))) await heal(site, cidr);
}

/** Gives a block back: deleted when empty and rested, else left without an owner until its last address is. */
export async function releaseAffinity(site: Site, cidr: string): Promise<void> {
  const entry = await readAffinity(site, cidr);
  await writeAffinity(site, cidr, "pendingDeletion", entry?.revision); // a lost one would be made anew by `heal`
  await heal(site, cidr);
}

/** CIDRs of this node whose affinity and block do not agree, as far as the view shows. */
export function disagreeing({ node, view }: Pick<Site, "node" | "view">): string[] {
  const affinities = view.affinities();
  const own = [...view.mine()].filter(({ value }) => value.affinity === affinityOf(node));
  const owned = new Set(own.map(({ value }) => value.cidr));
  const unsettled = [...affinities].filter(
    ([cidr, { value }]) => value.state !== "confirmed" || !owned.has(cidr),
  );
  return [...unsettled.map(([cidr]) => cidr), ...[...owned].filter((cidr) => !affinities.has(cidr))];
}

/**
 * Reads both keys and finishes what was begun. An affinity whose block was never made goes: another may be there by now, of
 * another size if the pool was made anew. A compare-and-swap lost here is someone else healing the same.
 */
export async function heal(site: Site, cidr: string): Promise<void> {
  const [affinity, block] = await Promise.all([readAffinity(site, cidr), readBlock(site, cidr)]);
  if (block === "corrupt") return;
  const ours = block?.spec.affinity === affinityOf(site.node);
  if (!affinity) {
    if (ours) await writeAffinity(site, cidr, "confirmed");
  } else if (affinity.spec.state === "pendingDeletion") {
    if (!block || !ours || (await dropBlock(site, block)))
      await deleteAffinity(site, cidr, affinity.revision);
  } else if (!ours) {
    await deleteAffinity(site, cidr, affinity.revision);
  } else if (affinity.spec.state === "pending") {
    await writeAffinity(site, cidr, "confirmed", affinity.revision);
  }
}

interface Read<T> {
  readonly spec: T;
  readonly revision: number;
}

/**
 * The block as it is in the store now; the view learns of it. A corrupt one is left alone, for `ipam check`
 * to show.
 */
export async function readBlock(site: Site, cidr: string): Promise<Read<Block> | "corrupt" | undefined> {
  const entry = await read(site.store, site.view, blockKey(cidr));
  if (!entry) return undefined;
  try {
    return { spec: (resourceOf(entry) as IPAMBlock).spec, revision: entry.revision };
  } catch (error) {
    if (error instanceof ApiError && error.code === "corrupt") return "corrupt";
    throw error;
  }
}

async function readAffinity({ store, view, node }: Site, cidr: string) {
  const entry = await read(store, view, affinityKey(node, cidr));
  return entry && { spec: (resourceOf(entry) as BlockAffinity).spec, revision: entry.revision };
}

async function read(store: Store, view: BlockView, key: string): Promise<Entry | undefined> {
  const entry = await store.get(key);
  if (entry) view.observe(entry);
  else view.forget(key);
  return entry;
}

/** Creates the affinity, or updates it if still at `revision`. */
async function writeAffinity(
  { store, node, view }: Site,
  cidr: string,
  ...[state, revision]: [State, number?]
): Promise<Entry | undefined> {
  const [key, value] = [affinityKey(node, cidr), affinityText(node, cidr, state)];
  return written(view, () =>
    revision === undefined ? store.create(key, value) : store.update(key, value, revision),
  );
}

type State = BlockAffinity["spec"]["state"];

const affinityText = (node: string, cidr: string, state: State): string =>
  encode({
    apiVersion: "margay.dev/v1",
    kind: "BlockAffinity",
    metadata: { name: affinityName(node, cidr) },
    spec: { state, node, type: "host", cidr },
  });

const deleteAffinity = ({ store, node, view }: Site, cidr: string, revision: number): Promise<boolean> =>
  deleted(store, view, { key: affinityKey(node, cidr), revision });

/** Writes a block, which is then not read back to be known. */
async function putBlock(view: BlockView, block: Block, put: (key: string, value: string) => Promise<Entry>) {
  const resource = blockResource(block);
  return written(view, async () =>
    alreadyDecoded(await put(blockKey(block.cidr), encode(resource)), resource),
  );
}

/** Writes the block if still at `revision`; undefined: it is not. */
export const updateBlock = ({ store, view }: Site, block: Block, revision: number) =>
  putBlock(view, block, (key, value) => store.update(key, value, revision));

/** A block of this node's to write; without a revision it is claimed. */
export interface OwnBlock {
  readonly after: Block;
  readonly revision?: Revision | undefined;
}

/**
 * Writes this node's blocks and what goes along, all or nothing; the view learns of all of it. New blocks get their affinity, pending.
 * @returns the key that stood against it, if one did
 */
export async function writeTogether(
  { store, view, node }: Site,
  blocks: readonly OwnBlock[],
  along: readonly Change[],
): Promise<{ readonly refused: string } | undefined> {
  const written = blocks.map(({ after, revision }) => {
    const [resource, key] = [blockResource(after), blockKey(after.cidr)];
    const value = encode(resource);
    const change: Change =
      revision === undefined
        ? { type: "create", key, value }
        : { type: "update", key, value, ifRevision: revision };
    return { resource, change };
  });
  const claimed = blocks.filter(({ revision }) => revision === undefined);
  const affinities = claimed.map(({ after: { cidr } }): Change => {
    return { type: "create", key: affinityKey(node, cidr), value: affinityText(node, cidr, "pending") };
  });
  try {
    const entries = await store.commit([...written.map(({ change }) => change), ...affinities, ...along]);
    for (const [i, { resource }] of written.entries()) alreadyDecoded(entries[i]!, resource); // in order, one each
    view.observe(...entries);
    return undefined;
  } catch (error) {
    if (isRefusal(error)) return { refused: error.key ?? "" };
    throw error;
  }
}

/** Deletes the block if still at `revision`, and keeps its journal; false: it is not. */
export async function deleteBlock({ store, view }: Site, block: Block, revision: number): Promise<boolean> {
  await keepJournal(store, block);
  return deleted(store, view, { key: blockKey(block.cidr), revision });
}

async function dropBlock(site: Site, { spec, revision }: Read<Block>): Promise<boolean> {
  const rests = cooling(spec, { now: site.now(), cooldownSeconds: site.cooldownSeconds }).size > 0;
  if (isEmpty(spec) && !rests) return deleteBlock(site, spec, revision);
  return (await updateBlock(site, disown(spec), revision)) !== undefined;
}

/** The entry written, which the view learns of; undefined when the store refused for what it holds now. */
async function written(view: BlockView, write: () => Promise<Entry>): Promise<Entry | undefined> {
  const entry = await unlessRefused(write);
  if (entry) view.observe(entry);
  return entry;
}

async function deleted(store: Store, view: BlockView, { key, revision }: { key: string; revision: number }) {
  const gone = (await unlessRefused(() => store.delete(key, revision))) !== undefined;
  if (gone) view.forget(key);
  return gone;
}

/** A refused compare-and-swap is an outcome here, not an error. */
async function unlessRefused<T>(write: () => Promise<T>): Promise<T | undefined> {
  try {
    return await write();
  } catch (error) {
    if (isRefusal(error)) return undefined;
    throw error;
  }
}

const isRefusal = (error: unknown): error is StoreError =>
  error instanceof StoreError && ["exists", "conflict", "not-found"].includes(error.code);
