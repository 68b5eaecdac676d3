import type { CommandModule } from "yargs";

/** One line of `margay --help`; the module itself is imported only when its command is called. */
export interface Entry {
  readonly name: string;
  readonly describe: string;
  readonly load: () => Promise<readonly CommandModule[]>;
}

// `as`: a module whose options are typed is contravariant in them; yargs hands it what its own builder declared.
const agent = async () => [(await import("@margay/agent")).command as CommandModule];
const cleanup = async () => [(await import("@margay/agent")).cleanupCommand as CommandModule];
const bgpd = async () => [(await import("@margay/bgpd")).command as CommandModule];
const cni = async () => [(await import("@margay/cni")).command];
const attach = async () => (await import("@margay/cni")).commands;
const lab = async () => [(await import("@margay/lab")).command];
const controllers = async () => [(await import("@margay/controllers")).command as CommandModule];
const ctl = async () => (await import("@margay/ctl")).commands;

/** Every command, in the order of the help. */
export const catalogue: readonly Entry[] = [
  { name: "get", describe: "show resources", load: ctl },
  { name: "apply", describe: "create or change resources from files", load: ctl },
  { name: "delete", describe: "delete resources", load: ctl },
  { name: "import", describe: "take over what another network was configured with", load: ctl },
  { name: "ipam", describe: "address pools, blocks and who holds what", load: ctl },
  { name: "bgp", describe: "BGP sessions and routes of a node", load: ctl },
  { name: "node", describe: "what a node's daemons say about themselves", load: ctl },
  { name: "wait", describe: "return once every node enforces all that was written before", load: ctl },
  { name: "explain", describe: "every step that a packet takes, with the rules that decide", load: ctl },
  {
    name: "attach",
    describe: "give a network namespace an address, routes and policy, without Kubernetes",
    load: attach,
  },
  { name: "detach", describe: "take back what attach gave", load: attach },
  { name: "policy", describe: "policies in force on a node, and what they match", load: ctl },
  { name: "lab", describe: "a whole cluster on this machine: nodes, routes, policy, BGP", load: lab },
  { name: "agent", describe: "daemon: addresses, routes and policy of one node", load: agent },
  { name: "bgpd", describe: "daemon: the BGP speaker of one node", load: bgpd },
  { name: "controllers", describe: "daemon: Kubernetes objects into the datastore", load: controllers },
  { name: "cni", describe: "run one CNI call (where the static relay cannot be)", load: cni },
  { name: "cleanup", describe: "take off this node all that agent and bgpd put there", load: cleanup },
];
