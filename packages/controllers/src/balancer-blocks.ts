import { decode, encode, type IPAMBlock, type IPPool, keyOf } from "@margay/api";
import { type Block, claim, heldIn, LOAD_BALANCER, newBlock, ordinalOf, release } from "@margay/ipam";
import { type Address, contains, formatAddress, formatPrefix, parseAddress, parsePrefix } from "@margay/net";

/** Addresses and the services that have each, "namespace/name" in order of name; several share it. */
export type Holders = ReadonlyMap<string, readonly string[]>;

/** Whether a block's text is a load balancers' block: looked for in every block that any node writes. */
export const isBalancerText = (text: string): boolean =>
  text.includes(`"affinity":${JSON.stringify(LOAD_BALANCER)}`);

export const blockKey = (cidr: string): string => keyOf("IPAMBlock", cidr.replace("/", "-"));

/** The block in a datastore's text. Throws ApiError when it cannot be read. */
export const blockIn = (key: string, text: string): Block => (decode(key, text) as IPAMBlock).spec; // its key says so

/** Equal blocks, equal text. */
export const blockText = (spec: Block): string =>
  encode({
    ...{ apiVersion: "margay.dev/v1", kind: "IPAMBlock", spec },
    metadata: { name: spec.cidr.replace("/", "-") },
  } as IPAMBlock);

/** A fresh block, of no node. */
export const newBalancerBlock = (cidr: string, now: Date): Block => ({
  ...newBlock(parsePrefix(cidr), "", now),
  affinity: LOAD_BALANCER,
});

/** The block in which an address of a pool is: one that exists, or the pool's own. */
export function cidrOf(text: string, pools: readonly IPPool[], blocks: readonly Block[]): string {
  const address = parseAddress(text);
  const existing = blocks.find(({ cidr }) => contains(parsePrefix(cidr), address))?.cidr;
  const pool = pools.find(({ spec }) => contains(parsePrefix(spec.cidr), address));
  return existing ?? formatPrefix(parsePrefix(`${text}/${pool?.spec.blockSize ?? 32}`, { mask: true }));
}

/** Who has what by the blocks' word; nobody's name: somebody else's, and not free. */
export const holdersIn = (blocks: Iterable<Block>): Holders =>
  new Map(
    [...blocks].flatMap((block) =>
      heldIn(block).map(({ address }): [string, string[]] => [
        formatAddress(address),
        block.allocations[ordinalOf(block, address)]?.attributes.service?.split(",") ?? [],
      ]),
    ),
  );

/** The block with its part of these addresses given to these services; what others have stays. The same block if it is so already. */
export function given(block: Block, wanted: Holders, now: Date): Block {
  const range = parsePrefix(block.cidr);
  let after = block;
  for (const [text, services] of wanted) {
    const address = parseAddress(text);
    if (contains(range, address)) after = give(after, { address, service: services.join(","), now });
  }
  return after;
}

function give(
  block: Block,
  { address, service, now }: { address: Address; service: string; now: Date },
): Block {
  const ordinal = ordinalOf(block, address);
  const before = block.allocations[ordinal]?.attributes.service;
  if (before === service) return block;
  const free = release(block, (_, n) => n === ordinal, { reason: "requested", at: now, cooldownSeconds: 0 });
  const [first = ""] = service.split(",");
  const attributes = { service, type: "loadBalancer", timestamp: now.toISOString() };
  const given = claim(free.block, address, {
    handle: `load-balancer.${first.replace("/", ".")}`,
    attributes,
  });
  return "block" in given ? given.block : block; // it has just been freed
}

/** The block without these addresses, whose services do not have them any more. */
export function taken(block: Block, gone: ReadonlySet<string>, now: Date): Block {
  const range = parsePrefix(block.cidr);
  const ordinals = new Set(
    [...gone].map(parseAddress).flatMap((one) => (contains(range, one) ? ordinalOf(block, one) : [])),
  );
  return release(block, (_, n) => ordinals.has(n), { reason: "service-gone", at: now, cooldownSeconds: 0 })
    .block;
}
