import type { Family } from "@margay/net";
import { attributes, bytesOf, type Message, type Request, type RequestSocket, text } from "@margay/netlink";
import { intervalsFrom, type KernelElement } from "./element.ts";
import { verdictName } from "./encode.ts";
import { keyText, keyType } from "./field.ts";
import type { Base, NftMap, NftSet } from "./item.ts";
import { header, hookName, type Place, protocolFamily, setFlag, types } from "./message.ts";
import type { Field } from "./statement.ts";

/** Packets and bytes that one rule, or several with the same id, matched. */
export interface Counter {
  readonly packets: number;
  readonly bytes: number;
}

/** A rule as the kernel holds it. */
export interface FoundRule {
  readonly handle: number;
  /** Undefined for a rule that is not ours. */
  readonly hash: string | undefined;
  readonly id: string | undefined;
  readonly counter: Counter | undefined;
}

export interface FoundTable {
  readonly chains: ReadonlyMap<string, Base | undefined>;
  readonly sets: ReadonlyMap<string, NftSet | NftMap>;
  readonly rules: ReadonlyMap<string, readonly FoundRule[]>;
}

/** Our whole table of one family; undefined when there is none. */
export async function readTable(
  socket: RequestSocket,
  place: Place,
  mark: string,
): Promise<FoundTable | undefined> {
  const tables = await dump(socket, place, { type: types.getTable, what: "tables" }, (found) =>
    name(found, 1),
  );
  if (!tables.includes(place.table)) return undefined;
  const chains = await dump(socket, place, { type: types.getChain, what: "chains" }, (found) =>
    name(found, 1) === place.table ? ([name(found, 3), baseOf(found)] as const) : undefined,
  );
  const sets = await dump(socket, place, { type: types.getSet, what: "sets", body: 1 }, readSet(place));
  const filled = new Map<string, NftSet | NftMap>();
  for (const set of sets) filled.set(set.name, await readElements(socket, place, set));
  return { chains: new Map(chains), sets: filled, rules: await readRules(socket, { ...place, mark }) };
}

/** The chains of every table, whosever they are, by family. */
export async function listChains(
  socket: RequestSocket,
  family: Family,
): Promise<{ table: string; name: string }[]> {
  return dump(socket, { family, table: "" }, { type: types.getChain, what: "chains" }, (found) => ({
    table: name(found, 1),
    name: name(found, 3),
  }));
}

/** Of all chains, or of one: rules in order, by chain. */
export async function readRules(
  socket: RequestSocket,
  { mark, chain, ...place }: Place & { readonly mark: string; readonly chain?: string },
): Promise<ReadonlyMap<string, readonly FoundRule[]>> {
  const rules = await dump(
    socket,
    place,
    { type: types.getRule, what: `rules of ${chain ?? place.table}`, body: 1, second: chain },
    (found) =>
      name(found, 1) === place.table ? { chain: name(found, 2), rule: ruleOf(found, mark) } : undefined,
  );
  return new Map(
    [...Map.groupBy(rules, (one) => one.chain)].map(([key, its]) => [key, its.map(({ rule }) => rule)]),
  );
}

/** Of the rule that the kernel answered with. */
export const handleIn = ({ body }: Message): number => big64(attributes(body, 4).get(3));

type Found = ReadonlyMap<number, DataView>;

interface Dump {
  readonly type: number;
  readonly what: string;
  /** Attribute of the table's name, to be told of this table only. */
  readonly body?: number;
  /** The chain's or set's name. */
  readonly second?: string | undefined;
}

function dump<T>(
  socket: RequestSocket,
  { family, table }: Place,
  { type, what, body, second }: Dump,
  read: (found: Found) => T | undefined,
): Promise<T[]> {
  const request: Request = {
    ...{ type, flags: 0, words: () => `list ${what} (IPv${family})` },
    body: (e) => {
      header(e, protocolFamily(family));
      if (body !== undefined) e.attributeText(body, table);
      if (second !== undefined) e.attributeText(2, second);
    },
  };
  return socket.dump(request, (message: Message) => read(attributes(message.body, 4)));
}

const name = (found: Found, type: number): string => {
  const value = found.get(type);
  return value ? text(value) : "";
};

const big32 = (value: DataView | undefined): number => (value ? value.getUint32(0) : 0);
const big64 = (value: DataView | undefined): number => (value ? Number(value.getBigUint64(0)) : 0);

function baseOf(found: Found): Base | undefined {
  const hook = found.get(4);
  if (!hook) return undefined;
  const parts = attributes(hook, 0);
  const at = hookName(big32(parts.get(1)));
  const type = name(found, 7);
  return at && { type: type as Base["type"], hook: at, priority: big32(parts.get(2)) | 0 }; // a foreign type is not the same as ours
}

/** `margay:<hash> <id>` */
function ruleOf(found: Found, mark: string): FoundRule {
  const comment = commentOf(found.get(7));
  const ours = comment.startsWith(mark) ? comment.slice(mark.length) : undefined;
  const space = ours?.indexOf(" ") ?? -1;
  return {
    handle: big64(found.get(3)),
    hash: space < 0 ? ours : ours?.slice(0, space),
    id: space < 0 ? undefined : ours?.slice(space + 1),
    counter: counterOf(found.get(4)),
  };
}

/** User data: type u8, length u8, value, and again. */
function commentOf(value: DataView | undefined): string {
  if (!value) return "";
  for (let at = 0; at + 2 <= value.byteLength; ) {
    const length = value.getUint8(at + 1);
    if (value.getUint8(at) === 0 && at + 2 + length <= value.byteLength)
      return text(new DataView(value.buffer, value.byteOffset + at + 2, length));
    at += 2 + length;
  }
  return "";
}

function counterOf(expressions: DataView | undefined): Counter | undefined {
  if (!expressions) return undefined;
  for (const expression of listed(expressions)) {
    const parts = attributes(expression, 0);
    if (name(parts, 1) !== "counter") continue;
    const data = parts.get(2);
    const counts = data && attributes(data, 0);
    return { packets: big64(counts?.get(2)), bytes: big64(counts?.get(1)) };
  }
  return undefined;
}

/** The values of a list whose elements all have the same type. */
function* listed(list: DataView): Generator<DataView> {
  for (let at = 0; list.byteLength - at >= 4; ) {
    const length = list.getUint16(at, true);
    if (length < 4 || length > list.byteLength - at) return;
    yield new DataView(list.buffer, list.byteOffset + at + 4, length - 4);
    at += (length + 3) & ~3;
  }
}

interface SetHead {
  readonly name: string;
  readonly fields: readonly Field[];
  readonly flags: number;
}

/** The field that stands for each of nft's data types. */
const FIELDS: Readonly<Record<number, Field>> = {
  ...{ 7: "saddr", 8: "saddr", 9: "ether saddr", 12: "protocol", 13: "sport", 35: "iifgroup", 41: "iifname" },
};

/** A set whose key is none of ours has no fields, and so is the same as none. */
const readSet =
  ({ table }: Place) =>
  (found: Found): SetHead | undefined => {
    if (name(found, 1) !== table) return undefined;
    const parts: (Field | undefined)[] = [];
    for (let type = big32(found.get(4)); type > 0; type >>>= 6) parts.unshift(FIELDS[type & 63]);
    const fields = parts.filter((field) => field !== undefined);
    return {
      name: name(found, 2),
      fields: fields.length === parts.length ? fields : [],
      flags: big32(found.get(3)),
    };
  };

async function readElements(socket: RequestSocket, place: Place, head: SetHead): Promise<NftSet | NftMap> {
  const { fields, flags } = head;
  const chunks = await dump(
    socket,
    place,
    { type: types.getElements, what: `elements of ${head.name}`, body: 1, second: head.name },
    (found) => {
      const list = found.get(3);
      return list && [...listed(list)].map(elementOf);
    },
  );
  const elements = chunks.flat();
  const common = { family: place.family, fields, members: new Set<string>() };
  const spelled = (key: Uint8Array) => (fields.length > 0 ? keyText(key, fields, place.family) : "");
  if ((flags & setFlag.map) !== 0)
    return {
      kind: "map",
      ...common,
      elements: new Set(elements.map((one) => `${spelled(one.key)} : ${verdictText(one)}`)),
    };
  if ((flags & setFlag.interval) !== 0)
    return { kind: "set", ...common, interval: true, elements: intervalsFrom(elements) };
  return { kind: "set", ...common, elements: new Set(elements.map(({ key }) => spelled(key))) };
}

const verdictText = ({ verdict }: KernelElement): string =>
  verdict ? `${verdict.code} ${verdict.chain}` : "";

function elementOf(value: DataView): KernelElement {
  const parts = attributes(value, 0);
  const key = parts.get(1);
  const data = parts.get(2);
  const verdict = data && attributes(data, 0).get(2);
  const words = verdict && attributes(verdict, 0);
  const code = verdictName(big32(words?.get(1)) | 0);
  const bytes = key && attributes(key, 0).get(1);
  return {
    key: bytes ? bytesOf(bytes).slice() : new Uint8Array(),
    isEnd: (big32(parts.get(3)) & 1) !== 0,
    ...(words && (code === "goto" || code === "jump") && { verdict: { code, chain: name(words, 2) } }),
  };
}

/** Whether two sets have keys of the same type and work the same way, whatever they hold. */
export const sameKind = (a: NftSet | NftMap, b: NftSet | NftMap): boolean =>
  a.kind === b.kind &&
  a.family === b.family &&
  keyType(a.fields, a.family) === keyType(b.fields, b.family) &&
  (a.kind === "map" || b.kind === "map" || (a.interval ?? false) === (b.interval ?? false));
