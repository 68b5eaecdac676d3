import type { Store } from "@margay/datastore";
import { type Block, type Freed, formerBlocks, type InUse, ordinalOf, ownerOf, whoHas } from "@margay/ipam";
import { type Address, contains, formatAddress, parsePrefix } from "@margay/net";
import { addressOf, endpointsByAddress, facts, list, poolsAndBlocks } from "./ipam-read.ts";
import { dump, type Form, type Terminal } from "./terminal.ts";

/** All that is known of one address. */
interface Why {
  readonly address: string;
  readonly pool?: string;
  readonly block?: string;
  /** The node whose block it is. */
  readonly owner?: string;
  readonly reserved?: string;
  readonly holder?: InUse;
  /** Who was the last to have it before. */
  readonly before?: Freed;
  readonly endpoints: readonly string[];
}

/** `margay ipam why`: who has or last had an address, since when, by which call, why it was freed. Throws CtlError `usage`. */
export async function why(
  store: Store,
  { ip, output }: { ip: string; output: Form },
  terminal: Terminal,
): Promise<void> {
  const answer = await explain(store, addressOf(ip, "address"), terminal);
  terminal.print(output === "table" ? textOf(answer) : dump(output, answer));
}

async function explain(store: Store, address: Address, terminal: Terminal): Promise<Why> {
  const [pools, blocks] = await poolsAndBlocks(store, terminal);
  const text = formatAddress(address);
  const pool = pools.find(({ cidr }) => contains(cidr, address));
  const block = blocks.find(({ cidr }) => contains(parsePrefix(cidr), address));
  const reservation = (await list(store, "IPReservation", terminal)).find(({ spec }) =>
    spec.reservedCIDRs.some((cidr) => contains(parsePrefix(cidr), address)),
  );
  const holder = whoHas(blocks, address);
  const before = lastFreed([...(await formerBlocks(store, address)), ...(block ? [block] : [])], address);
  return {
    address: text,
    ...(pool && { pool: pool.name }),
    ...(block && { block: block.cidr }),
    ...(block?.affinity && { owner: ownerOf(block.affinity) }),
    ...(reservation && { reserved: reservation.metadata.name }),
    ...(holder && { holder }),
    ...(before && { before }),
    endpoints: (await endpointsByAddress(store, terminal)).get(text) ?? [],
  };
}

/** By the journals of all blocks that it was in. */
function lastFreed(blocks: readonly Block[], address: Address): Freed | undefined {
  const all = blocks.flatMap((block) =>
    (block.released ?? []).filter(({ ordinal }) => ordinal === ordinalOf(block, address)),
  );
  return all.toSorted((a, b) => Date.parse(a.at) - Date.parse(b.at)).at(-1);
}

function textOf(answer: Why): string {
  const { address, pool, block, owner, holder, before, endpoints } = answer;
  const { timestamp, containerID } = holder?.attributes ?? {};
  return facts({
    address,
    state: stateOf(answer),
    since: timestamp,
    by: holder && (containerID ? `CNI ADD of container ${containerID}` : `handle ${holder.handle}`),
    endpoint: endpoints.join(", ") || (holder && withoutEndpoint(holder)),
    pool,
    block: block && `${block} of ${owner ?? "no node"}${holder?.borrowedFrom ? " (borrowed)" : ""}`,
    before:
      before && `${nameOf({ ...before, attributes: before })} until ${before.at}, freed by ${before.reason}`,
  });
}

function stateOf(answer: Why): string {
  const { holder, endpoints } = answer;
  if (holder) return `in use by ${nameOf(holder)}`;
  return endpoints.length > 0 ? "in use, and not held in Margay's IPAM" : freeText(answer);
}

/** Tunnels, services and other plugins' pods have none. */
function withoutEndpoint({ attributes: { type, plugin } }: InUse): string | undefined {
  if (plugin) return `none: the plugin ${plugin} made its interface`;
  return type ? undefined : "none: see margay ipam check";
}

type Named = Pick<InUse, "handle" | "attributes">;

function nameOf({ handle, attributes: { pod, namespace, service, type, node } }: Named): string {
  const name = pod ? `pod ${namespace}/${pod}` : service ? `service ${service}` : (type ?? handle);
  return node ? `${name} on node ${node}` : name;
}

function freeText({ pool, reserved }: Why): string {
  if (pool === undefined) return "in no pool";
  return reserved ? `free, reserved by ${reserved}` : "free";
}
