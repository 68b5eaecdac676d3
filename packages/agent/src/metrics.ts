import type { Served } from "@margay/cni";
import type { IpamEvent } from "@margay/ipam";
import { Counter, Gauge, Histogram, type Registry } from "prom-client";

/** What the agent measures of itself. Durations in seconds. */
export function agentMetrics(registry: Registry) {
  const registers = [registry];
  const [fast, slow] = [0.001, 10];
  const buckets = [fast, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, slow];
  const cni = new Histogram({
    ...{ name: "margay_agent_cni_seconds", help: "CNI calls by command and outcome.", registers, buckets },
    labelNames: ["command", "outcome"],
  });
  const freed = new Counter({
    ...{ name: "margay_ipam_addresses_freed_total", help: "Addresses freed, by reason.", registers },
    labelNames: ["reason"],
  });
  const blocks = new Counter({
    ...{ name: "margay_ipam_blocks_total", help: "Blocks claimed or returned.", registers },
    labelNames: ["change"],
  });
  let blockLimitRatio = () => 0;
  new Gauge({
    ...{ name: "margay_ipam_block_limit_ratio", registers },
    help: "Blocks owned of those that maxBlocksPerHost allows; 0 without a limit.",
    collect() {
      this.set(blockLimitRatio());
    },
  });
  const domainsRefused = new Counter({
    ...{ name: "margay_agent_domain_answers_refused_total", registers },
    help: "DNS answers that could not be read, and addresses in them that had no room, by reason.",
    labelNames: ["reason"],
  });
  let domains = (): ReadonlyMap<string, ReadonlyMap<string, unknown>> => new Map();
  new Gauge({
    ...{ name: "margay_agent_domains", help: "Domains of rules that have an address by DNS.", registers },
    collect() {
      this.set(domains().size);
    },
  });
  new Gauge({
    ...{ name: "margay_agent_domain_addresses", help: "Addresses of domains, by DNS.", registers },
    collect() {
      this.set([...domains().values()].reduce((sum, { size }) => sum + size, 0));
    },
  });
  return {
    domainsRefused: (reason: string, count: number) => domainsRefused.inc({ reason }, count),
    /** Asked whenever somebody looks. */
    domainsFrom: (learnt: typeof domains) => {
      domains = learnt;
    },
    /** One thing that IPAM did. */
    ipam: (event: IpamEvent) => {
      if (event.kind === "freed") freed.inc({ reason: event.reason });
      else if (event.kind !== "near-block-limit") blocks.inc({ change: event.kind });
    },
    /** Asked whenever somebody looks. */
    blockLimitFrom: (ratio: () => number) => {
      blockLimitRatio = ratio;
    },
    endpoints: new Gauge({ name: "margay_agent_endpoints", help: "Workload endpoints here.", registers }),
    closed: new Gauge({
      ...{ name: "margay_agent_endpoints_closed", registers },
      help: "Workload endpoints whose traffic is dropped since something they need cannot be resolved.",
    }),
    routes: new Gauge({ name: "margay_agent_routes", help: "Kernel routes wanted.", registers }),
    refused: new Gauge({
      ...{ name: "margay_agent_routes_refused", help: "Kernel routes that could not be written.", registers },
    }),
    apply: new Histogram({
      ...{ name: "margay_agent_apply_seconds", help: "Writing the state to the kernel.", registers, buckets },
    }),
    changes: new Counter({
      ...{ name: "margay_agent_kernel_changes_total", help: "Kernel objects put or removed.", registers },
      labelNames: ["target", "change"],
    }),
    repairs: new Counter({
      ...{ name: "margay_agent_rules_repaired_total", registers },
      help: "Chains and hooks put back since others had removed or changed them.",
    }),
    cut: new Counter({
      ...{ name: "margay_agent_connections_cut_total", registers },
      help: "Established connections ended since policy no longer allows them.",
    }),
    errors: new Counter({
      ...{ name: "margay_agent_apply_errors_total", help: "Passes that failed.", registers },
    }),
    corrupt: new Counter({
      ...{ name: "margay_agent_corrupt_values_total", help: "Datastore values not readable.", registers },
    }),
    cni: ({ invocation, ms, error }: Served) =>
      cni.observe({ command: invocation.command, outcome: error?.code ?? "ok" }, ms / 1000),
  };
}

export type AgentMetrics = ReturnType<typeof agentMetrics>;
