import { ApiError, decode, encode, type IPAMBlock, keyOf, ROOT } from "@margay/api";
import type { Store } from "@margay/datastore";
import { type Address, contains, parsePrefix } from "@margay/net";
import type { Block } from "./block.ts";
import { blockResource } from "./view.ts";

/**
 * Journals of blocks that were given back, as the blocks were: who held an address last is asked soon after it was freed, when its
 * node may have handed the whole block back already. They vanish by themselves; nobody follows them.
 */
const FORMER = `${ROOT}ipamjournal/`;
const KEPT_SECONDS = 24 * 60 * 60;

/** To be called before a block is deleted: one that stays after all is told of by its own journal. Only one that has a journal is kept. */
export async function keepJournal(store: Store, block: Block): Promise<void> {
  if (!block.released?.length) return;
  const resource = blockResource(block);
  const key = `${FORMER}${resource.metadata.name}/${block.sequenceNumber}`; // the next who has the block keeps another
  await store.put(key, encode(resource), { ttlSeconds: KEPT_SECONDS });
}

/** The former blocks that an address was in, within a day. What cannot be read is left out. */
export async function formerBlocks(store: Store, address: Address): Promise<Block[]> {
  const { entries } = await store.list(FORMER);
  return entries
    .flatMap(({ key, value }) => readable(key, value))
    .filter(({ cidr }) => contains(parsePrefix(cidr), address));
}

function readable(key: string, value: string): Block[] {
  try {
    const [name = ""] = key.slice(FORMER.length).split("/");
    const { spec } = decode(keyOf("IPAMBlock", name), value) as IPAMBlock; // as its key says
    return [spec];
  } catch (error) {
    if (error instanceof ApiError) return [];
    throw error;
  }
}
