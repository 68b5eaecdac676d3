import { command, group, output, storeFlags, withStore } from "./command.ts";
import { explainPacket } from "./explain.ts";
import { showDomains, showPolicy } from "./policy.ts";
import { processTerminal as terminal } from "./terminal.ts";

/** Linux's first ephemeral port: rules may name source ports. */
const USUAL_SOURCE_PORT = 32_768;
/** Apart from 1, which means that there is no answer. */
const EXIT_CODES = { allowed: 0, denied: 3, unreachable: 3, unknown: 4 } as const;

export const explainCommand = command({
  command: "explain <source> <destination> [packet]",
  describe: "every step that a packet takes, with the rules that decide",
  builder: (yargs) =>
    storeFlags(yargs)
      .positional("source", {
        type: "string",
        demandOption: true,
        describe: "Pod as NAMESPACE/NAME, node, or any address",
      })
      .positional("destination", {
        type: "string",
        demandOption: true,
        describe: "The same, or a Service as NAMESPACE/NAME",
      })
      .positional("packet", {
        type: "string",
        default: "tcp:80",
        describe:
          "tcp:PORT, udp:PORT, sctp:PORT, icmp[:TYPE[/CODE]], icmpv6[:TYPE[/CODE]] or a protocol's number",
      })
      .options({
        family: {
          choices: [4, 6] as const,
          describe: "IPv4 or IPv6, where both ends have both; IPv4 if not said",
        },
        "source-port": { type: "number", default: USUAL_SOURCE_PORT, describe: "For rules that name one" },
        output,
      })
      .example("$0 explain shop/web shop/db tcp:5432", "between two pods")
      .example("$0 explain shop/web 192.0.2.1 icmp", "to the outside")
      .epilogue(
        "Says what should happen by the datastore. Exit code 0: allowed, 3: denied or nobody there, 4: it depends on the interface, the backend or DNS, 1: no answer.",
      ),
  handler: (args) =>
    withStore(args, async (store) => {
      process.exitCode = EXIT_CODES[await explainPacket(store, args, terminal)];
    }),
});

const policyShow = command({
  command: "show [name]",
  describe: "the policies in force on this node, rule by rule",
  builder: (yargs) =>
    storeFlags(yargs)
      .positional("name", { type: "string", describe: "Only this one: np/shop/db, shop/db or db" })
      .options({
        counters: {
          type: "boolean",
          default: false,
          describe: "Packets and bytes that each rule matched (read at most every five seconds)",
        },
        output,
      }),
  handler: (args) => showPolicy(args, terminal),
});

const policyDomains = command({
  command: "domains",
  describe: "the addresses that DNS told this node of the domains that rules name",
  builder: (yargs) => storeFlags(yargs).options({ output }),
  handler: (args) => showDomains(args, terminal),
});

export const policyCommand = group("policy", "policies in force on a node, and what they match", [
  policyShow,
  policyDomains,
]);
