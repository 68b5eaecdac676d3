import type { Family } from "@margay/net";
import type { Encoder, Request } from "@margay/netlink";
import { type KernelElement, kernelElements } from "./element.ts";
import { big16, nested, number, number64, verdict } from "./encode.ts";
import { writeExpressions } from "./expression.ts";
import { keyLength, keyType } from "./field.ts";
import type { Base, Chain, NftMap, NftSet } from "./item.ts";
import { commentId, type Rule, ruleHash } from "./statement.ts";

/** NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_*. */
const SUBSYSTEM = 10;
const message = (n: number) => (SUBSYSTEM << 8) | n;
export const types = {
  ...{ newTable: message(0), getTable: message(1), deleteTable: message(2) },
  ...{ newChain: message(3), getChain: message(4), deleteChain: message(5) },
  ...{ newRule: message(6), getRule: message(7), deleteRule: message(8) },
  ...{ newSet: message(9), getSet: message(10), deleteSet: message(11) },
  ...{ newElements: message(12), getElements: message(13), deleteElements: message(14) },
} as const;
const batch = { begin: 0x10, end: 0x11 } as const;
const flag = { ack: 0x4, echo: 0x8, exclusive: 0x200, create: 0x400, append: 0x800 } as const;
/** NFT_SET_*. */
export const setFlag = { interval: 0x4, map: 0x8 } as const;
const VERDICT_TYPE = 0xffffff00;
const INTERVAL_END = 1;
/** An attribute's length has 16 bits; an element takes at most 100. */
const ELEMENTS_AT_ONCE = 500;
/** NF_INET_*. */
const HOOKS: Readonly<Record<Base["hook"], number>> = {
  ...{ prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4 },
};

export const hookName = (number: number): Base["hook"] | undefined =>
  (Object.keys(HOOKS) as Base["hook"][]).find((name) => HOOKS[name] === number);

/** NFPROTO_IPV4, NFPROTO_IPV6. */
export const protocolFamily = (family: Family): number => (family === 4 ? 2 : 10);

/** Where a message belongs. */
export interface Place {
  readonly family: Family;
  readonly table: string;
}

/** nfgenmsg: family u8, version u8, resource u16 (big-endian). */
export const header = (e: Encoder, family: number, resource = 0): Encoder =>
  e.u8(family).u8(0).bytes(big16(resource));

const frame = (type: number): Request => ({
  type,
  flags: 0,
  words: () => "nftables transaction",
  body: (e) => header(e, 0, SUBSYSTEM),
});

/** The requests as one transaction: all of them or none. */
export const transaction = (requests: readonly Request[]): readonly Request[] => [
  frame(batch.begin),
  ...requests,
  frame(batch.end),
];

/** What there is already is success. */
export const newTable = ({ family, table }: Place): Request => ({
  type: types.newTable,
  flags: flag.create | flag.ack, // the answer tells our port
  words: () => `add table IPv${family} ${table}`,
  body: (e) => header(e, protocolFamily(family)).attributeText(1, table),
});

export const deleteTable = ({ family, table }: Place): Request => ({
  type: types.deleteTable,
  flags: 0,
  words: () => `delete table IPv${family} ${table}`,
  body: (e) => header(e, protocolFamily(family)).attributeText(1, table),
});

export const newChain = ({ family, table }: Place, name: string, { base }: Chain): Request => ({
  type: types.newChain,
  flags: flag.create,
  words: () => `add chain ${name} (IPv${family})`,
  body: (e) => {
    header(e, protocolFamily(family)).attributeText(1, table).attributeText(3, name);
    if (!base) return;
    nested(e, 4, (h) => number(number(h, 1, HOOKS[base.hook]), 2, base.priority));
    number(e, 5, 1); // policy accept
    e.attributeText(7, base.type);
  },
});

export const deleteChain = ({ family, table }: Place, name: string): Request => ({
  type: types.deleteChain,
  flags: 0,
  words: () => `delete chain ${name} (IPv${family})`,
  body: (e) => header(e, protocolFamily(family)).attributeText(1, table).attributeText(3, name),
});

/** Where a new rule goes: at the end, or before the rule with this handle. */
export interface RuleAt extends Place {
  readonly chain: string;
  readonly before?: number | undefined;
  /** The kernel answers with the rule as it is now, its handle in it. */
  readonly isEchoed: boolean;
}

export const newRule = (
  { family, table, chain, before, isEchoed }: RuleAt,
  rule: Rule,
  mark: string,
): Request => ({
  type: types.newRule,
  flags: flag.create | (before === undefined ? flag.append : 0) | (isEchoed ? flag.echo : 0),
  words: () =>
    `add rule ${[ruleHash(rule), rule.id ?? ""].join(" ").trim()} to chain ${chain} (IPv${family})`,
  body: (e) => {
    header(e, protocolFamily(family)).attributeText(1, table).attributeText(2, chain);
    nested(e, 4, (list) => writeExpressions(list, rule, family));
    if (before !== undefined) number64(e, 6, before);
    e.attributeBytes(7, comment(rule, mark));
  },
});

const cachedComments = new WeakMap<Rule, Uint8Array>();

/** NFTNL_UDATA_RULE_COMMENT, as nft writes it: type u8, length u8, text with a NUL. */
function comment(rule: Rule, mark: string): Uint8Array {
  const known = cachedComments.get(rule);
  if (known) return known;
  const id = rule.id === undefined ? "" : ` ${commentId(rule.id)}`;
  const text = new TextEncoder().encode(`${mark}${ruleHash(rule)}${id}\0`);
  const bytes = Uint8Array.of(0, text.length, ...text);
  cachedComments.set(rule, bytes);
  return bytes;
}

/** One rule, or without a handle all of the chain. */
export const deleteRule = ({ family, table }: Place, chain: string, handle?: number): Request => ({
  type: types.deleteRule,
  flags: 0,
  words: () => `delete rule ${handle ?? "all"} of chain ${chain} (IPv${family})`,
  body: (e) => {
    header(e, protocolFamily(family)).attributeText(1, table).attributeText(2, chain);
    if (handle !== undefined) number64(e, 3, handle);
  },
});

let setIds = 0;

/** NFTNL_UDATA_SET_KEYBYTEORDER, of 4 bytes: the host's. Else nft prints names of interfaces backwards. */
const KEY_IN_HOST_ORDER = Uint8Array.of(0, 4, 1, 0, 0, 0);
const HOST_ORDER: ReadonlySet<string | undefined> = new Set(["iifname", "oifname", "iifgroup", "oifgroup"]);
const isHostOrder = ([first]: NftSet["fields"]): boolean => HOST_ORDER.has(first);

export const newSet = ({ family, table }: Place, name: string, item: NftSet | NftMap): Request => ({
  type: types.newSet,
  flags: flag.create,
  words: () => `add set ${name} (IPv${family})`,
  body: (e) => {
    const isMap = item.kind === "map";
    header(e, protocolFamily(family)).attributeText(1, table).attributeText(2, name);
    number(e, 3, isMap ? setFlag.map : item.interval ? setFlag.interval : 0);
    number(e, 4, keyType(item.fields, family));
    number(e, 5, keyLength(item.fields, family));
    number(e, 10, ++setIds);
    if (isMap) number(number(e, 6, VERDICT_TYPE), 7, 16);
    if (isHostOrder(item.fields)) e.attributeBytes(13, KEY_IN_HOST_ORDER);
  },
});

export const deleteSet = ({ family, table }: Place, name: string): Request => ({
  type: types.deleteSet,
  flags: 0,
  words: () => `delete set ${name} (IPv${family})`,
  body: (e) => header(e, protocolFamily(family)).attributeText(1, table).attributeText(2, name),
});

/** Which elements of which set. */
export interface Elements extends Place {
  readonly name: string;
  readonly item: NftSet | NftMap;
  readonly elements: readonly string[];
}

export const addElements = (these: Elements): readonly Request[] =>
  inChunks(these, (chunk) => elementsRequest(types.newElements, flag.create, chunk));

export const deleteElements = (these: Elements): readonly Request[] =>
  inChunks(these, (chunk) => elementsRequest(types.deleteElements, 0, chunk));

function inChunks(these: Elements, request: (chunk: Elements) => Request): readonly Request[] {
  const count = Math.ceil(these.elements.length / ELEMENTS_AT_ONCE);
  return Array.from({ length: count }, (_, i) => {
    const elements = these.elements.slice(i * ELEMENTS_AT_ONCE, (i + 1) * ELEMENTS_AT_ONCE);
    return request({ ...these, elements });
  });
}

const elementsRequest = (
  type: number,
  flags: number,
  { family, table, name, item, elements }: Elements,
): Request => ({
  ...{ type, flags },
  words: () =>
    `${type === types.newElements ? "add" : "delete"} ${elements.slice(0, 3).join(", ")}${elements.length > 3 ? ", ..." : ""} in set ${name} (IPv${family})`,
  body: (e) => {
    header(e, protocolFamily(family)).attributeText(1, table).attributeText(2, name);
    nested(e, 3, (list) => {
      for (const element of elements)
        for (const one of kernelElements(element, item)) writeElement(list, one, type === types.newElements);
    });
  },
});

function writeElement(e: Encoder, { key, isEnd, verdict: to }: KernelElement, isNew: boolean): void {
  nested(e, 1, (element) => {
    if (isEnd) number(element, 3, INTERVAL_END);
    nested(element, 1, (k) => k.attributeBytes(1, key));
    if (to && isNew) verdict(element, 2, to.code, to.chain);
  });
}
