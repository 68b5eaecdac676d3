import * as z from "zod";

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
