import { type Direction, type LocalEndpoint, type PacketRate, ruleIds } from "@margay/calc";
import type { Chain } from "@margay/iptables";
import type { Family } from "@margay/net";
import { oncePer } from "@margay/reconcile";
import type { RenderConfig } from "./config.ts";
import { type Dispatch, type Dispatched, dispatched } from "./dispatch.ts";
import { clear, setMark } from "./marks.ts";
import * as names from "./names.ts";

const FROM: Dispatch = {
  ...{ root: "margay-rate-from", below: "margay-rd-", interfaceWord: "-i", others: [] },
  chainOf: names.chains.rateFrom,
};
const TO: Dispatch = {
  ...{ root: "margay-rate-to", below: "margay-re-", interfaceWord: "-o", others: [] },
  chainOf: names.chains.rateTo,
};

/**
 * Limits of packets a second, before everything else that is forwarded: they are for packets of long established
 * connections too, which the sender's chain would allow at once. A packet within the limit is marked, one that is not goes.
 * The kernel keeps account in the rule: each limit is a chain of its own, which nothing else changes.
 */
export function packetRates(
  endpoints: readonly LocalEndpoint[],
  context: { readonly config: RenderConfig; readonly family: Family },
): Dispatched {
  const limited = endpoints.filter(({ packetRate }) => packetRate !== undefined); // next to none: nothing is made for the others
  const of = (direction: Direction) =>
    new Map(
      limited.flatMap(({ interfaceName, packetRate }): [string, Chain][] => {
        const limit = packetRate?.[direction];
        return limit ? [[interfaceName, limitingBy(context.config)(limit)]] : [];
      }),
    );
  const [from, to] = [dispatched(of("egress"), FROM, context), dispatched(of("ingress"), TO, context)];
  return { chains: new Map([...from.chains, ...to.chains]), jumps: [...from.jumps, ...to.jumps] };
}

/** The same object for the same limit. */
const limitingBy = oncePer((config: RenderConfig) =>
  oncePer((rate: PacketRate): Chain => limiting(rate, config)),
);

function limiting({ perSecond, burst }: PacketRate, config: RenderConfig): Chain {
  const within = ["-m", "limit", "--limit", `${perSecond}/second`, "--limit-burst", `${burst}`];
  const unmarked = ["-m", "mark", "--mark", `0x0/${config.pass}`];
  return {
    rules: [
      clear(config.pass),
      { ...setMark(config.pass), match: within },
      { match: unmarked, target: config.deny, id: ruleIds.packetRate },
      clear(config.pass),
    ],
  };
}
