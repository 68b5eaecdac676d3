import type { Question } from "@margay/calc";
import { CtlError } from "./error.ts";

type Flow = Pick<Question, "protocol" | "destinationPort" | "icmp" | "family">;

/** IANA numbers of the protocols with ports. */
const WITH_PORTS: Readonly<Record<string, number>> = { tcp: 6, udp: 17, sctp: 132, udplite: 136 };
const ECHO_REQUEST = {
  icmp: { protocol: 1, type: 8, family: 4 },
  icmpv6: { protocol: 58, type: 128, family: 6 },
} as const;

/**
 * `tcp:80`, `udp:53`, `icmp` (echo request), `icmp:3/1` (type and code), `icmpv6`, or a protocol's number. Throws CtlError
 * `usage`.
 */
export function parseFlow(text: string): Flow {
  const [name = "", rest, ...more] = text.toLowerCase().split(":");
  const named = WITH_PORTS[name];
  if (more.length === 0 && named !== undefined && rest !== undefined)
    return { protocol: named, destinationPort: number(rest, { text, max: 65535 }) };
  if (more.length === 0 && (name === "icmp" || name === "icmpv6")) {
    const { type, ...flow } = ECHO_REQUEST[name];
    const [typeText = String(type), codeText = "0"] = rest?.split("/") ?? [];
    const limit = { text, max: 255 };
    return { ...flow, icmp: { type: number(typeText, limit), code: number(codeText, limit) } };
  }
  if (rest === undefined && /^\d+$/.test(name)) return { protocol: number(name, { text, max: 255 }) };
  throw notOne(text);
}

function number(word: string, { text, max }: { text: string; max: number }): number {
  if (/^\d{1,5}$/.test(word) && Number(word) <= max) return Number(word);
  throw notOne(text);
}

const notOne = (text: string): CtlError =>
  new CtlError(
    "usage",
    `"${text}" is no packet: say tcp:PORT, udp:PORT, sctp:PORT, icmp[:TYPE[/CODE]], icmpv6[:TYPE[/CODE]] or a protocol's number`,
  );

/** As `parseFlow` reads it. */
export function flowText({ protocol, destinationPort, icmp }: Omit<Flow, "family">): string {
  const named = Object.entries(WITH_PORTS).find(([, known]) => known === protocol)?.[0];
  if (named !== undefined && destinationPort !== undefined) return `${named}:${destinationPort}`;
  const echo = Object.entries(ECHO_REQUEST).find(([, known]) => known.protocol === protocol)?.[0];
  return echo !== undefined && icmp ? `${echo}:${icmp.type}/${icmp.code}` : `protocol ${protocol}`;
}
