import {
  addressFromBytes,
  addressToBytes,
  type Family,
  formatAddress,
  parseAddress,
  width,
} from "@margay/net";
import { formatMac, macBytes } from "@margay/netlink";
import { big16, host32, interfaceBytes } from "./encode.ts";
import type { Field } from "./statement.ts";

type FieldKind = "address" | "protocol" | "port" | "interface" | "group" | "mac";

const KINDS: Readonly<Record<Field, FieldKind>> = {
  ...{ saddr: "address", daddr: "address", protocol: "protocol" },
  ...{ sport: "port", dport: "port", iifname: "interface", oifname: "interface" },
  ...{ iifgroup: "group", oifgroup: "group", "ether saddr": "mac" },
};

/** nft's own numbers of data types, so that it can print what we write. */
const TYPES = {
  ...{
    ipv4_addr: 7,
    ipv6_addr: 8,
    ether_addr: 9,
    inet_proto: 12,
    inet_service: 13,
    devgroup: 35,
    ifname: 41,
  },
} as const;

/** Bytes of one field's value, without padding. */
export function fieldBytes(field: Field, family: Family): number {
  const kind = KINDS[field];
  if (kind === "address") return width(family) / 8;
  return { protocol: 1, port: 2, interface: 16, group: 4, mac: 6 }[kind];
}

/** Of a key of several fields: nft joins the types of its parts by six bits each. */
export const keyType = (fields: readonly Field[], family: Family): number =>
  fields.reduce((type, field) => (type << 6) | fieldType(field, family), 0);

function fieldType(field: Field, family: Family): number {
  const kind = KINDS[field];
  if (kind === "address") return family === 4 ? TYPES.ipv4_addr : TYPES.ipv6_addr;
  return {
    ...{ protocol: TYPES.inet_proto, port: TYPES.inet_service, interface: TYPES.ifname },
    ...{ group: TYPES.devgroup, mac: TYPES.ether_addr },
  }[kind];
}

const padded = (bytes: number): number => (bytes + 3) & ~3;

/** Fields in registers of four bytes each. */
export const keyLength = (fields: readonly Field[], family: Family): number =>
  fields.length === 1 && fields[0]
    ? fieldBytes(fields[0], family)
    : fields.reduce((sum, field) => sum + padded(fieldBytes(field, family)), 0);

/** `10.0.0.1 . 6 . 80` as the kernel's key. NetError or RangeError for text that is no such key. */
export function keyBytes(text: string, fields: readonly Field[], family: Family): Uint8Array {
  const parts = text.split(" . ");
  if (parts.length !== fields.length) throw new RangeError(`${text} has not ${fields.length} fields`);
  const out = new Uint8Array(keyLength(fields, family));
  let at = 0;
  for (const [i, field] of fields.entries()) {
    out.set(valueBytes(parts[i] ?? "", field, family), at);
    at += padded(fieldBytes(field, family));
  }
  return out;
}

function valueBytes(text: string, field: Field, family: Family): Uint8Array {
  switch (KINDS[field]) {
    case "address": {
      const address = parseAddress(text);
      if (address.family !== family) throw new RangeError(`${text} is not IPv${family}`);
      return addressToBytes(address);
    }
    case "protocol":
      return Uint8Array.of(integer(text, 0xff));
    case "port":
      return big16(integer(text, 0xffff));
    case "interface":
      return interfaceBytes(text);
    case "group":
      return host32(integer(text, 0xffffffff));
    case "mac":
      return macBytes(text);
  }
}

function integer(text: string, most: number): number {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 0 || number > most)
    throw new RangeError(`${text} is no number to ${most}`);
  return number;
}

/** The reverse of `keyBytes`. */
export function keyText(bytes: Uint8Array, fields: readonly Field[], family: Family): string {
  let at = 0;
  return fields
    .map((field) => {
      const length = fieldBytes(field, family);
      const part = bytes.subarray(at, at + length);
      at += padded(length);
      return valueText(part, field);
    })
    .join(" . ");
}

function valueText(bytes: Uint8Array, field: Field): string {
  switch (KINDS[field]) {
    case "address":
      return formatAddress(addressFromBytes(bytes));
    case "protocol":
    case "port":
      return String(bytes.reduce((sum, byte) => sum * 256 + byte, 0));
    case "interface":
      return new TextDecoder().decode(bytes).replace(/\0.*$/s, "");
    case "group":
      return String(new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true));
    case "mac":
      return formatMac(bytes);
  }
}
