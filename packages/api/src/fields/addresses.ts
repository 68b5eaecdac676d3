import { type Family, formatPrefix, NetError, type Prefix, parseAddress, parsePrefix } from "@margay/net";
import { text } from "./text.ts";

/** What net says about text that is no prefix or address, or undefined when `parse` succeeds. */
function fault(parse: () => unknown): string | undefined {
  try {
    parse();
    return undefined;
  } catch (error) {
    if (!(error instanceof NetError)) throw error;
    return error.message.slice(JSON.stringify(error.input).length + 2);
  }
}

const wrongFamily = (family: Family | undefined, actual: Family) =>
  family !== undefined && family !== actual ? `must be IPv${family}` : undefined;

/** One IPv4 or IPv6 address (of `family` only, when given). */
export const address = (family?: Family) =>
  text((value) => fault(() => parseAddress(value)) ?? wrongFamily(family, parseAddress(value).family));

/** A network without host bits. */
export const cidr = (family?: Family) =>
  text(
    (value) =>
      (value.includes("/") ? undefined : "must be a CIDR such as 10.0.0.0/8") ??
      fault(() => parsePrefix(value)) ??
      wrongFamily(family, parsePrefix(value).family),
  );

/** A host's own address with the length of its subnet, such as 10.0.0.5/24. A bare address is its /32 or /128. */
export const interfaceAddress = (family: Family) =>
  text(
    (value) =>
      fault(() => parsePrefix(value, { mask: true })) ??
      wrongFamily(family, parsePrefix(value, { mask: true }).family),
  );

/** A network or address of a rule or set. Host bits are dropped and the text made canonical, as Kubernetes does. */
export const net = (family?: Family) =>
  text(
    (value) =>
      fault(() => parsePrefix(value, { mask: true })) ??
      wrongFamily(family, parsePrefix(value, { mask: true }).family),
  ).transform((value) => formatPrefix(parsePrefix(value, { mask: true })));

/**
 * The same, also with leading zeros, which Kubernetes takes for decimal (`ParseCIDRSloppy`; later versions refuse them in new objects, not in
 * those that are stored).
 */
export const sloppyNet = () =>
  text((value) => fault(() => parsePrefix(decimal(value), { mask: true }))).transform((value) =>
    formatPrefix(parsePrefix(decimal(value), { mask: true })),
  );

const decimal = (value: string): string => value.replaceAll(/(^|[./])0+(?=\d)/g, "$1");

/** The prefix of text that a schema has already accepted, or undefined when it was refused. */
export function prefixIn(value: string): Prefix | undefined {
  try {
    return parsePrefix(value, { mask: true });
  } catch (error) {
    if (!(error instanceof NetError)) throw error;
    return undefined;
  }
}

/** A CIDR list's families, for rules about mixing them. */
export const familiesOf = (nets: readonly string[]): ReadonlySet<Family> =>
  new Set(nets.flatMap((value) => prefixIn(value)?.family ?? []));

/** Whether this is an IPv4 or IPv6 address, for fields that may also be something else. */
export const isAddress = (value: string): boolean => fault(() => parseAddress(value)) === undefined;
