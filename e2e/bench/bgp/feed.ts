/** Tables as bytes, made before the clock starts: prefixes in sets of one to many that share their attributes. */
import { type Attributes, frame, packPrefixes, writeAnnouncements, writeWithdrawals } from "@margay/bgp";
import { type Address, parseAddress } from "@margay/net";
import { prefixOf } from "./prefixes.ts";
import { generator } from "./random.ts";
import { localAs, type Peer } from "./rows.ts";

/** On average so many prefixes have the same attributes, half of the sets one prefix: as in a table of the Internet. */
const perSet = 6;

/** The UPDATEs of what a peer feeds. The same prefixes are the same for every peer. */
export function feedOf({ address, as, feeds }: Peer): Uint8Array {
  if (!feeds) return new Uint8Array();
  const random = generator(feeds.first + 1);
  const nextHop = { address: parseAddress(address.replace("127.", "172.")) };
  const context = { as4: true, internal: as === localAs };
  const messages: Uint8Array[] = [];
  const end = feeds.first + feeds.count;
  for (let at = feeds.first; at < end; ) {
    const x = -Math.log(1 - random());
    const count = Math.min(end - at, 900, 1 + Math.floor(((perSet - 0.5) * x * x) / 2));
    const prefixes = Array.from({ length: count }, (_, i) => prefixOf(at + i));
    const attributes = attributesOf(random, { as, hops: feeds.hops, nextHop });
    for (const body of writeAnnouncements({ nlri: packPrefixes(4, prefixes), attributes }, context))
      messages.push(frame("update", body));
    at += count;
  }
  return Buffer.concat(messages);
}

/** UPDATEs of some of a peer's prefixes: all with one set of attributes, that of `version`. */
export function changeOf(
  { address, as, feeds }: Peer,
  prefixes: readonly number[],
  version: number,
): Uint8Array {
  const context = { as4: true, internal: as === localAs };
  const nextHop = { address: parseAddress(address.replace("127.", "172.")) };
  const attributes = {
    ...attributesOf(generator(version), { as, hops: feeds?.hops ?? 0, nextHop }),
    med: version,
  };
  const nlri = packPrefixes(4, prefixes.map(prefixOf));
  return Buffer.concat(
    writeAnnouncements({ nlri, attributes }, context).map((body) => frame("update", body)),
  );
}

/** UPDATEs that withdraw them. */
export function withdrawalOf(prefixes: readonly number[]): Uint8Array {
  const nlri = packPrefixes(4, prefixes.map(prefixOf));
  return Buffer.concat(writeWithdrawals(nlri).map((body) => frame("update", body)));
}

interface Of {
  readonly as: number;
  readonly hops: number;
  readonly nextHop: { readonly address: Address };
}

function attributesOf(random: () => number, { as, hops, nextHop }: Of): Attributes {
  const far = Array.from({ length: Math.max(0, hops - 1) }, () => 70_000 + Math.floor(random() * 300_000));
  const communities = Array.from({ length: Math.floor(random() * 8) }, () =>
    Math.floor(random() * 0xf0000000),
  );
  const ases = as === localAs ? far : [as, ...far];
  return {
    origin: "igp",
    asPath: ases.length > 0 ? [{ kind: "sequence", ases }] : [],
    nextHop,
    ...(as === localAs ? { localPref: 100 } : {}),
    ...(communities.length > 0 ? { communities } : {}),
  };
}
