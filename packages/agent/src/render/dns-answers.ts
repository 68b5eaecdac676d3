import { type NodeState, ruleIds } from "@margay/calc";
import type { Chain, Rule } from "@margay/iptables";
import type { Family } from "@margay/net";
import type { RenderConfig } from "./config.ts";
import * as names from "./names.ts";
import type { SetRefs } from "./sets.ts";

/** Of nfnetlink_queue; the agent listens to it. Others use low numbers. */
export const DNS_QUEUE = 19_809;
const DNS_PORT = "53";

/**
 * What DNS servers that are believed answer to workloads goes through the agent (ADR 21), once policy has let it pass. It is told by what the workload
 * asked: a connection to port 53 that it began itself. While nobody listens it goes on. By key.
 */
export function dnsAnswerChains(
  { resolvers }: NodeState,
  { family, config, sets }: { family: Family; config: RenderConfig; sets: SetRefs },
): ReadonlyMap<string, Chain> {
  if (!resolvers) return new Map();
  const nets = resolvers.nets.filter((net) => net.family === family);
  const from = [
    ...(nets.length > 0 ? [sets.nets(nets, family)] : []),
    ...resolvers.sets.map((id) => sets.selected(id, family)),
  ];
  const answer = ["-p", "udp", "-m", "conntrack", "--ctdir", "REPLY", "--ctorigdstport", DNS_PORT];
  const rules: Rule[] = config.interfaces.flatMap((name) =>
    from.map((set) => ({
      match: ["-o", name, ...answer, "-m", "set", "--match-set", set, "src"],
      target: ["-j", "NFQUEUE", "--queue-num", String(DNS_QUEUE), "--queue-bypass"],
      id: ruleIds.dnsAnswer,
    })),
  );
  return rules.length > 0 ? new Map([[`mangle/${names.chains.dnsAnswers}`, { rules }]]) : new Map();
}
