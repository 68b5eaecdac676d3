import { join } from "node:path";
import type { CniDeps, Served } from "@margay/cni";
import { compileInIdleTime, type DaemonContext } from "@margay/daemon";
import { Agent } from "./agent.ts";
import { startCni } from "./cni-service.ts";
import { rememberSettings } from "./former-settings.ts";
import { keepInstalled } from "./keep-installed.ts";
import { observingStore } from "./observing-store.ts";
import type { AgentOptions } from "./options.ts";
import { RuleCounters, ruleMetrics, showCounters, showPolicies } from "./rule-counters.ts";
import { showDomains, showEndpoints, showRoutes, showState } from "./views.ts";
import { settingsOf } from "./wanted.ts";

/** Starts the agent: reads the datastore, serves the container runtime and the CLI. */
export async function startAgent(context: DaemonContext<AgentOptions>): Promise<{ stop(): Promise<void> }> {
  compileInIdleTime();
  rememberSettings(context.options.runDir);
  const agent = new Agent(context);
  void agent.start(); // a rejection is a fault of the program: it ends the process
  const kubernetes = await joinKubernetes(context, agent);
  const cni = await serveRuntime(context, agent, kubernetes?.describe);
  const stopInstalling = installFor(context, agent);
  showTo(context, agent);
  return {
    async stop() {
      stopInstalling();
      await cni.close();
      await kubernetes?.stop();
      await agent.stop();
    },
  };
}

/** Does nothing unless told where. */
function installFor({ options, log }: DaemonContext<AgentOptions>, agent: Agent): () => void {
  const { cniConfDir: confDir, cniBinDir: binDir, cniFeature: features, cniIpam: ipam, runDir } = options;
  if (!confDir || !binDir) return () => undefined;
  return keepInstalled({
    ...{ confDir, binDir, features, ipam, socket: join(runDir, "cni.sock") },
    whyNot: () => agent.notReady() ?? agent.trouble()?.why,
    onInstalled: (paths) => log.info({ event: "cni-installed", paths }, `CNI installed in ${confDir}`),
    onError: (error) => log.error({ event: "cni-not-installed", err: error }, `CNI not installed: ${error}`),
  });
}

/** Loaded only where it is used: an agent without Kubernetes does not carry it. */
async function joinKubernetes(context: DaemonContext<AgentOptions>, agent: Agent) {
  const { kubeconfig, ipAutodetectionMethod, ip6AutodetectionMethod } = context.options;
  const isAsked = kubeconfig ?? ipAutodetectionMethod ?? ip6AutodetectionMethod;
  if (isAsked === undefined && !process.env.KUBERNETES_SERVICE_HOST) return undefined;
  const { startKubernetes } = await import("./kubernetes/start.ts");
  return startKubernetes(context, { inventory: agent.inventory, netlink: agent.kernel.netlink });
}

function serveRuntime(
  { store, node, options, log }: DaemonContext,
  agent: Agent,
  describe: CniDeps["describe"],
) {
  const { calc, inventory, syncer } = agent;
  return startCni({
    socket: join(options.runDir, "cni.sock"),
    node,
    store: observingStore(store, (entry) => syncer.observe(entry)),
    ipam: agent.ipam,
    netlink: agent.kernel.netlink,
    pools: inventory.pools,
    labels: inventory.labels,
    namespaceLabels: inventory.namespaceLabels,
    interfacePrefix: () => calc.state().config.interfacePrefix.split(",")[0] ?? "cali",
    mtu: () => agent.mtu,
    groupFor: (interfaceName) => agent.groupFor(interfaceName),
    settings: (interfaceName) => settingsOf({ interfaceName, spoofable: [] }, calc.state().config),
    wired: (interfaceName, settings) => agent.kernel.wired(interfaceName, settings),
    unwired: (interfaceName) => agent.kernel.unwired(interfaceName),
    expect: (key, value) => agent.expect(key, value),
    ready: (id, timeoutMs) => agent.dataplane.ready(id, timeoutMs),
    audit: (id) => agent.audit(id),
    held: () => agent.held(),
    blockOf: (address) => agent.blockOf(address),
    podCidrs: inventory.podCidrs,
    localEndpoints: agent.localEndpoints.byKey,
    notReady: () => agent.notReady(),
    trouble: () => agent.trouble(),
    ...(describe && { describe }),
    onServed: (served) => {
      agent.metrics.cni(served);
      logServed(log, served);
    },
    onBadCall: (error) => log.warn({ event: "cni-bad-call", err: error }, String(error)),
  });
}

function logServed(log: DaemonContext["log"], { invocation, ms, error }: Served): void {
  const { command, containerId, ifname } = invocation;
  const facts = { command, containerId, ifname, ms };
  if (!error) log.info({ event: "cni", ...facts }, `CNI ${command} served`);
  else
    log.error(
      { event: "cni-failed", ...facts, code: error.code, err: error },
      `CNI ${command}: ${error.message}`,
    );
}

function showTo({ control, metrics }: DaemonContext, { calc, kernel, dataplane, domains }: Agent): void {
  const counters = new RuleCounters(
    () => kernel.counters(),
    () => performance.now(),
  );
  ruleMetrics(counters, metrics);
  control.get("/state", async () =>
    showState(kernel.enforced(calc.state()), { pending: await dataplane.pending() }),
  );
  control.get("/endpoints", () =>
    showEndpoints(kernel.enforced(calc.state()), (e, config) => kernel.missing(e, config)),
  );
  control.get("/policies", () => showPolicies(kernel.enforced(calc.state())));
  control.get("/domains", () => showDomains(domains.all, Date.now()));
  control.get("/counters", async () => showCounters(await counters.counts()));
  control.get("/routes", () => showRoutes(kernel.netlink, kernel.refused));
}
