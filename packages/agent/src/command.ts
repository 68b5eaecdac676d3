import { FEATURES, parseIpam } from "@margay/cni";
import { collectGarbage, daemonFlags, runDaemon } from "@margay/daemon";
import { releaseFilePages } from "@margay/netlink";
import type { CommandModule, Options } from "yargs";
import type { AgentOptions } from "./options.ts";
import { startAgent } from "./start.ts";

const FLAGS = {
  "cni-conf-dir": {
    type: "string",
    implies: "cni-bin-dir",
    describe: "Install the CNI configuration there once pods can be served, such as /etc/cni/net.d",
  },
  "cni-bin-dir": {
    type: "string",
    implies: "cni-conf-dir",
    describe: "Install the CNI plugins there before it, such as /opt/cni/bin",
  },
  "cni-feature": {
    choices: FEATURES,
    array: true,
    coerce: (given: readonly string[]) => given.flatMap((text) => text.split(",")), // as the environment has it
    describe: "An annotation that pods may use: addresses past IPAM, or floating ones",
  },
  "cni-ipam": {
    type: "string",
    coerce: (text: string | undefined) => (text === undefined ? undefined : parseIpam(text)),
    describe: "Another plugin that gives addresses, as JSON: the `ipam` of the installed configuration",
  },
  "nftables-mode": {
    choices: ["Auto", "Enabled", "Disabled"],
    describe: "Use nftables instead of iptables; before FelixConfiguration's nftablesMode",
  },
  kubeconfig: {
    type: "string",
    describe:
      "How to reach Kubernetes for pods' labels and annotations; the pod's service account if it has one",
  },
  "ip-autodetection-method": {
    type: "string",
    defaultDescription: "kubernetes-internal-ip in Kubernetes, else none",
    describe:
      "Which IPv4 address is the node's: kubernetes-internal-ip, first-found, interface=REGEX, skip-interface=REGEX, cidr=CIDR, can-reach=ADDRESS, none",
  },
  "ip6-autodetection-method": {
    type: "string",
    defaultDescription: "kubernetes-internal-ip in Kubernetes, else none",
    describe: "The same for IPv6",
  },
} as const satisfies Record<string, Options>;

/** `margay agent`. */
export const command: CommandModule<object, AgentOptions> = {
  command: "agent",
  describe: "daemon: addresses, routes and policy of one node",
  builder: (yargs) =>
    daemonFlags(yargs, FLAGS).usage(
      "$0 agent\n\nRuns on every node, as root, in the node's network namespace. Gives pods addresses and interfaces when the " +
        "container runtime asks (<run-dir>/cni.sock), routes them and enforces policy. Ending it leaves rules and routes in force.",
    ),
  handler: async (options) => {
    process.exitCode = await runDaemon({
      ...{ name: "agent", options, start: startAgent },
      onQuiet: () => {
        collectGarbage();
        releaseFilePages();
      },
    });
  },
};
