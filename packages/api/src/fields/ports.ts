import * as z from "zod";

/** The names a protocol may have (calico.md §1.9). */
export const PROTOCOLS = ["TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite"] as const;
const PROTOCOL_RULE = `must be one of ${PROTOCOLS.join(", ")}, or a number 1 to 255`;
const PORT_RULE = 'must be a port 0 to 65535, a range "low:high" of them, or a port name';

/** A protocol by name (any case, made canonical) or number. */
export const protocol = z
  .union([z.number(), z.string()], { error: PROTOCOL_RULE })
  .transform((value, context) => {
    const known = canonicalProtocol(value);
    if (known !== undefined) return known;
    context.addIssue({ code: "custom", message: PROTOCOL_RULE, input: value });
    return z.NEVER;
  })
  .meta({ intOrString: true });

function canonicalProtocol(value: number | string): number | string | undefined {
  const named = PROTOCOLS.find((name) => name.toLowerCase() === String(value).toLowerCase());
  if (named) return named;
  const number = /^\d{1,3}$/.test(String(value)) ? Number(value) : Number.NaN;
  return number >= 1 && number <= 255 ? number : undefined;
}

/** A port of a rule; `parsePort` tells what it means. */
export const port = z
  .union([z.number(), z.string()], { error: PORT_RULE })
  .superRefine((value, context) => {
    if (parsePort(value) === undefined) context.addIssue({ code: "custom", message: PORT_RULE });
  })
  .meta({ intOrString: true });

/** What a rule's port means: an inclusive range, or the name of a port of the endpoint. */
export type PortMatch =
  | { readonly kind: "range"; readonly low: number; readonly high: number }
  | { readonly kind: "named"; readonly name: string };

/** Not only digits, dots and dashes: that is a number with a fault. */
const PORT_NAME = /^(?![-.\d]+$)[a-zA-Z0-9_.-]{1,128}$/;

/** Parses a rule's port: 80, "80", "8000:8080" or "http". Undefined when it is none of them. */
export function parsePort(value: number | string): PortMatch | undefined {
  const text = String(value);
  const range = /^(\d{1,5})(?::(\d{1,5}))?$/.exec(text);
  if (!range) return PORT_NAME.test(text) ? { kind: "named", name: text } : undefined;
  const [low, high] = [Number(range[1]), Number(range[2] ?? range[1])];
  return low <= high && high <= 65535 ? { kind: "range", low, high } : undefined;
}
