import type { Store } from "@margay/datastore";
import { addressesOf, type InUse, type PoolUsage, summarise, whoHas } from "@margay/ipam";
import { contains, formatAddress } from "@margay/net";
import { CtlError } from "./error.ts";
import { heatMap } from "./ipam-map.ts";
import { addressOf, endpointsByAddress, facts, poolsAndBlocks, sizeOf } from "./ipam-read.ts";
import { dump, type Form, type Terminal, table } from "./terminal.ts";

export interface ShowRequest {
  readonly showBlocks: boolean;
  /** A character for each block instead of the table. */
  readonly map?: boolean | undefined;
  /** Only who has this address. */
  readonly ip?: string | undefined;
  /** Only this node's blocks, and what it uses. */
  readonly node?: string | undefined;
  readonly output: Form;
}

/** `margay ipam show`: how full pools and blocks are, or who has an address. Throws CtlError `usage` or `not-found`. */
export async function show(store: Store, request: ShowRequest, terminal: Terminal): Promise<void> {
  const { ip, node, output } = request;
  if (ip !== undefined) return showAddress(store, { ip, output }, terminal);
  if (node !== undefined) return showNode(store, { node, output }, terminal);
  const usage = summarise(...(await poolsAndBlocks(store, terminal)));
  if (output !== "table") return terminal.print(dump(output, usage));
  if (usage.pools.length === 0) return terminal.warn("there is no IP pool; make one with margay apply");
  if (request.map) return terminal.print(usage.pools.map((pool) => heatMap(pool, terminal)).join("\n\n"));
  const head = ["POOL", "BLOCK", "NODE", "TOTAL", "IN USE", "FREE", "BORROWED"];
  const rows = usage.pools.flatMap((pool) => [poolRow(pool), ...(request.showBlocks ? blockRows(pool) : [])]);
  terminal.print(table(terminal, head, rows));
  for (const { cidr, inUse } of usage.outside)
    terminal.warn(`block ${cidr} (${inUse} in use) lies in no pool`);
}

const poolRow = ({ name, cidr, total, inUse, free, borrowed }: PoolUsage) => [
  ...[name, cidr, "", sizeOf(total), inUse, freeOf({ total, inUse, free }), borrowed.length],
];

const freeOf = ({ total, inUse, free }: Pick<PoolUsage, "total" | "inUse" | "free">): string =>
  total === free || sizeOf(total) === `${total}` ? sizeOf(free) : `${sizeOf(total)} - ${inUse}`;

const blockRows = ({ blocks, borrowed }: PoolUsage) =>
  blocks.map(({ cidr, node, size, inUse }) => {
    const lent = borrowed.filter(({ block }) => block === cidr).length;
    return ["", cidr, node ?? "(none)", size, inUse, size - inUse, lent];
  });

async function showNode(
  store: Store,
  { node, output }: { node: string; output: Form },
  terminal: Terminal,
): Promise<void> {
  const [pools, blocks] = await poolsAndBlocks(store, terminal);
  const usage = summarise(pools, blocks);
  const own = [...usage.pools.flatMap((pool) => pool.blocks), ...usage.outside].filter(
    (block) => block.node === node,
  );
  const addresses = blocks.flatMap(addressesOf).filter(({ attributes }) => attributes.node === node);
  if (own.length + addresses.length === 0)
    throw new CtlError("not-found", `node ${node} has no block and no address`);
  if (output !== "table") return terminal.print(dump(output, { node, blocks: own, addresses }));
  const rows = own.map(({ cidr, size, inUse }) => [cidr, size, inUse, size - inUse]);
  const held = table(terminal, ["ADDRESS", "BLOCK", "HELD BY", "SINCE"], addresses.map(addressRow));
  terminal.print(`${table(terminal, ["BLOCK", "TOTAL", "IN USE", "FREE"], rows)}\n\n${held}`);
}

const addressRow = ({ address, block, borrowedFrom, handle, attributes }: InUse) => [
  address,
  borrowedFrom === undefined ? block : `${block} of ${borrowedFrom}`,
  attributes.pod
    ? `${attributes.namespace}/${attributes.pod}`
    : (attributes.service ?? attributes.type ?? handle),
  attributes.timestamp,
];

async function showAddress(
  store: Store,
  { ip, output }: { ip: string; output: Form },
  terminal: Terminal,
): Promise<void> {
  const address = addressOf(ip);
  const [pools, blocks] = await poolsAndBlocks(store, terminal);
  const holder = whoHas(blocks, address);
  if (holder) return terminal.print(output === "table" ? holderText(holder) : dump(output, holder));
  const text = formatAddress(address);
  const pool = pools.find(({ cidr }) => contains(cidr, address));
  const endpoints = (await endpointsByAddress(store, terminal)).get(text);
  if (endpoints) {
    const told = { address: text, endpoint: endpoints.join(", "), pool: pool?.name, handle: NOT_OURS };
    return terminal.print(output === "table" ? facts(told) : dump(output, { address: text, endpoints }));
  }
  throw new CtlError("not-found", `${text} is free${pool ? ` (pool ${pool.name})` : "; it lies in no pool"}`);
}

/** Of another plugin's addresses (host-local, say), and those that were given past IPAM. */
const NOT_OURS = "none: not held in Margay's IPAM";

function holderText({ address, block, handle, attributes, borrowedFrom }: InUse): string {
  const { pod, namespace, node, containerID, timestamp, type, service, plugin } = attributes;
  return facts({
    address,
    block: borrowedFrom === undefined ? block : `${block} (borrowed from ${borrowedFrom})`,
    pod: pod && `${namespace}/${pod}`,
    ...{ service, type, plugin, node, container: containerID, since: timestamp, handle },
  });
}
