import { type Family, formatPrefix, NetError, type Prefix, parseAddress, parsePrefix } from "@margay/net";
import { z } from "zod";
import { SelectorError } from "./selector/ast.ts";
import { parseSelector } from "./selector/parse.ts";

/** Field types that several resources share. Each message says what is allowed. */

/** Text for which `why` finds no fault. */
export const text = (why: (value: string) => string | undefined) =>
  z.string().superRefine((value, context) => {
    const message = why(value);
    if (message) context.addIssue({ code: "custom", message });
  });

const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

/** Why `name` is no DNS-1123 subdomain (RFC 1123 §2.1, as Kubernetes restricts it), or undefined. */
export const nameOf = (name: string): string | undefined =>
  name.length <= 253 && SUBDOMAIN.test(name)
    ? undefined
    : "must be a DNS subdomain: at most 253 of a-z 0-9 '-' '.', beginning and ending with a letter or digit";

/** Why `name` is neither `default` nor `node.<nodename>`, or undefined. */
export const singletonName = (name: string): string | undefined =>
  name === "default" || (name.startsWith("node.") && nameOf(name.slice(5)) === undefined)
    ? undefined
    : `must be "default", or "node.<nodename>" for one node`;

const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/;
const LABEL_NAME = /^([^/]+\/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;

export const labelName = text((name) =>
  name.length <= 317 && LABEL_NAME.test(name)
    ? undefined
    : "must be a label name: [prefix/]name of A-Z a-z 0-9 '-' '_' '.', beginning and ending with a letter or digit",
);

export const labelValue = text((value) =>
  value.length <= 63 && LABEL_VALUE.test(value)
    ? undefined
    : "must be a label value: at most 63 of A-Z a-z 0-9 '-' '_' '.', beginning and ending with a letter or digit",
);

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

/** The prefix of text that a schema has already accepted, or undefined when it was refused. */
export function prefixIn(value: string): Prefix | undefined {
  return fault(() => parsePrefix(value, { mask: true })) ? undefined : parsePrefix(value, { mask: true });
}

const selectorFault = (value: string): string | undefined => {
  if (value.length > 1024) return "must be at most 1024 characters";
  try {
    parseSelector(value);
    return undefined;
  } catch (error) {
    if (!(error instanceof SelectorError)) throw error;
    return error.message;
  }
};

/** A selector over the labels of namespaces; here, and only here, `global()` makes sense. */
export const namespaceSelector = text(selectorFault);

/** A selector over the labels of endpoints, sets or nodes (calico.md §4.3). */
export const selector = text(
  (value) =>
    selectorFault(value) ??
    (parseSelector(value).kind === "global" ? "global() is allowed in a namespaceSelector only" : undefined),
);

/** A CIDR list's families, for rules about mixing them. */
export const familiesOf = (nets: readonly string[]): ReadonlySet<Family> =>
  new Set(nets.flatMap((value) => prefixIn(value)?.family ?? []));

const AS_RULE = "must be an AS number: 1 to 4294967295, or dotted such as 1.10";

/** An AS number of 4 octets; "high.low" of RFC 5396 is accepted and becomes a number. */
export const asNumber = z
  .union([z.number(), z.string()], { error: AS_RULE })
  .transform((value, context) => {
    const as = typeof value === "number" ? value : parseAs(value);
    if (Number.isInteger(as) && as >= 1 && as <= 0xffffffff) return as;
    context.addIssue({ code: "custom", message: AS_RULE, input: value });
    return z.NEVER;
  })
  .meta({ intOrString: true });

function parseAs(value: string): number {
  const match = /^(\d{1,10})(?:\.(\d{1,5}))?$/.exec(value);
  if (!match) return Number.NaN;
  const [high, low] = [Number(match[1]), Number(match[2])];
  if (match[2] === undefined) return high;
  return high > 0xffff || low > 0xffff ? Number.NaN : high * 0x10000 + low;
}

const DURATION = /^(?:\d+(?:\.\d+)?(?:h|m(?!s)|s|ms|us|\u00b5s|ns))+$|^0$/;
const UNIT_SECONDS: Readonly<Record<string, number>> = {
  h: 3600,
  m: 60,
  s: 1,
  ms: 1e-3,
  us: 1e-6,
  "\u00b5s": 1e-6,
  ns: 1e-9,
};

/** A Go duration such as "90s" or "1m30s". */
export const duration = text((value) =>
  DURATION.test(value) ? undefined : `must be a duration such as "90s", "1m30s" or "500ms"`,
);

/** The seconds of a duration that the schema accepted. */
export function durationSeconds(value: string): number {
  let seconds = 0;
  for (const [, amount, unit] of value.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s|us|\u00b5s|ns)/g))
    seconds += Number(amount) * (UNIT_SECONDS[unit ?? ""] ?? 0);
  return seconds;
}

/** Secrets are referred to, never held. */
export const secretKeyRef = z.object({
  secretKeyRef: z
    .object({
      name: z.string().describe("Name of the Secret."),
      key: z.string().describe("Key within the Secret."),
      optional: z.boolean().optional().describe("Whether the Secret may be absent."),
    })
    .describe("Where the password is."),
});

/** An interface name, or a glob of them. */
export const interfaceName = text((value) =>
  /^[^\s/]{1,15}$/.test(value)
    ? undefined
    : "must be an interface name: 1 to 15 characters without space or '/'",
);
