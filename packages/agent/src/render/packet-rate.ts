import { type LocalEndpoint, ruleIds } from "@margay/calc";
import type { Rule } from "@margay/iptables";
import type { RenderConfig } from "./config.ts";
import { clear, setMark } from "./endpoint.ts";

/**
 * Limits of packets a second, before everything else that is forwarded: they are for packets of long established
 * connections too, which the sender's chain would allow at once. A packet within the limit is marked, one that is not goes.
 */
export function packetRateRules(endpoints: readonly LocalEndpoint[], config: RenderConfig): readonly Rule[] {
  const limited = endpoints.filter(({ packetRate }) => packetRate !== undefined); // next to none: nothing is made for the others
  return limited.flatMap(({ interfaceName, packetRate }) =>
    (["egress", "ingress"] as const).flatMap((direction) => {
      const limit = packetRate?.[direction];
      if (!limit) return [];
      const match = [direction === "egress" ? "-i" : "-o", interfaceName];
      const within = [
        "-m",
        "limit",
        "--limit",
        `${limit.perSecond}/second`,
        "--limit-burst",
        `${limit.burst}`,
      ];
      const unmarked = ["-m", "mark", "--mark", `0x0/${config.pass}`];
      return [
        { ...clear(config.pass), match },
        { ...setMark(config.pass), match: [...match, ...within] },
        { match: [...match, ...unmarked], target: config.deny, id: ruleIds.packetRate },
        { ...clear(config.pass), match },
      ];
    }),
  );
}
