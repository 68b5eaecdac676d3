/**
 * What a BGP session may be told beside who the peer is: the same words in a BGPPeer and, with dashes, for a neighbor in
 * bgpd's own file (`margay bgpd --config-file`).
 */
import * as z from "zod";
import { durationSeconds } from "../fields/duration.ts";
import { interfaceName } from "../fields/names.ts";
import { text } from "../fields/text.ts";
import type { SpecOf } from "../resource.ts";
import { bgpPolicy } from "./bgp-policy.ts";

/** Seconds as a number, or a duration, inclusive bounds in seconds. `secondsOf` reads it. */
const seconds = (min: number, max: number, besides = "") => {
  const rule = `must be ${min} to ${max} seconds${besides}, as a number or a duration such as "90s"`;
  return z
    .union([z.number(), z.string()], { error: rule })
    .superRefine((value, context) => {
      const s = secondsOf(value);
      const isIn = Number.isInteger(s) && ((s >= min && s <= max) || (besides !== "" && s === 0));
      if (!isIn) context.addIssue({ code: "custom", message: rule });
    })
    .meta({ intOrString: true });
};

/** The seconds of a time that the schema accepted; NaN for other text. */
export const secondsOf = (value: number | string): number =>
  typeof value === "number" ? value : durationSeconds(value) || (/^0/.test(value) ? 0 : Number.NaN);

const limit = z.object({
  max: z.int().min(1).max(4294967295).describe("More end the session (RFC 4486)."),
  warnPercent: z.int().min(1).max(100).default(75).describe("Said in the log from this share of max on."),
  restartAfter: seconds(1, 86400)
    .optional()
    .describe("Then the session may start again; not by itself when absent."),
  warnOnly: z.boolean().optional().describe("The session stays."),
});

export const sessionFields = {
  passive: z.boolean().optional().describe("Never connect, only listen."),
  families: z
    .array(z.enum(["ipv4", "ipv6"]))
    .min(1)
    .optional()
    .describe("Families of routes; both when absent."),
  interface: interfaceName
    .optional()
    .describe(
      "The session goes over this interface only; with no address given, with the router that is found there (unnumbered).",
    ),
  holdTime: seconds(3, 65535, ", or 0 for no keepalives")
    .optional()
    .describe("Hold time (RFC 4271 §4.2); a third of it is the KEEPALIVE interval."),
  connectRetryTime: seconds(1, 3600)
    .optional()
    .describe("Between attempts to connect (RFC 4271 §8); 5 s when absent."),
  delayOpenTime: seconds(1, 240)
    .optional()
    .describe("How long our OPEN waits for the peer's (DelayOpen, RFC 4271 §8.1.1)."),
  longLivedStaleTime: seconds(1, 16777215)
    .optional()
    .describe("Routes are kept as a last resort for so long after the restart time (RFC 9494)."),
  role: z
    .enum(["provider", "rs", "rs-client", "customer", "peer"])
    .optional()
    .describe("Ours towards the peer: keeps route leaks out (RFC 9234)."),
  roleRequired: z.boolean().optional().describe("The peer must announce its own role."),
  extendedNextHop: z.boolean().optional().describe("IPv4 routes by way of IPv6 next hops (RFC 8950)."),
  addPath: z
    .object({
      receive: z.boolean().optional().describe("Take several paths to a prefix from the peer."),
      send: z.boolean().optional().describe("Tell it several, the best first."),
      sendMax: z.int().min(1).max(255).optional().describe("At most so many; all when absent."),
    })
    .optional()
    .describe("Several paths to one prefix (ADD-PATH, RFC 7911)."),
  maxPrefixes: z
    .object({
      ipv4: limit.optional().describe("IPv4 prefixes."),
      ipv6: limit.optional().describe("IPv6 prefixes."),
    })
    .optional()
    .describe("How many prefixes the peer may announce."),
  removePrivateAs: z
    .enum(["remove", "replace"])
    .optional()
    .describe("Private AS numbers (RFC 6996) in paths sent."),
  enforceFirstAs: z.boolean().optional().describe("Paths must begin with the peer's AS (RFC 4271 §6.3)."),
  showBothAses: z
    .boolean()
    .default(false)
    .describe("Beside an AS of ours for this peer alone, show the true one in paths too."),
  importPolicy: bgpPolicy.optional().describe("What is accepted, judged before filters."),
  exportPolicy: bgpPolicy.optional().describe("What is announced, judged after filters."),
} as const;

const session = z.object(sessionFields);

/** The fields above, as either home of them has them. */
export type SessionFields = SpecOf<typeof session>;

/** A text that TCP-MD5 takes (Linux). */
export const md5Password = text((value) => {
  const { length } = new TextEncoder().encode(value);
  return length >= 1 && length <= 80 ? undefined : "must be 1 to 80 bytes long (Linux)";
});
