import { text } from "./text.ts";

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
