import type { CommandModule } from "yargs";
import { defaultLimit, formats, operate, peers, routes } from "./bgp.ts";
import { command, group, storeFlags } from "./command.ts";
import { processTerminal as terminal } from "./terminal.ts";

const output = {
  alias: "o",
  choices: formats,
  default: "table",
  describe: "Form of the output; wide shows more columns",
} as const;

const bgpPeers = command({
  command: "peers [peer]",
  describe: "the BGP sessions of this node",
  builder: (yargs) =>
    storeFlags(yargs)
      .positional("peer", {
        type: "string",
        describe: "Only this one, by name or address, with all there is",
      })
      .options({ output })
      .example("$0 bgp peers -o wide", "with errors of both directions and timers")
      .example("$0 bgp peers tor", "all about one session"),
  handler: (args) => peers(args, terminal),
});

const bgpRoutes = command({
  command: "routes [prefix]",
  describe: "the routes this node knows by BGP, and why each is the best or is not",
  builder: (yargs) =>
    storeFlags(yargs)
      .positional("prefix", {
        type: "string",
        describe: "Only this network; of an address, the longest network that holds it",
      })
      .options({
        peer: { type: "string", describe: "Only paths from this peer, by name or address" },
        why: {
          type: "boolean",
          default: false,
          describe: "Each path with all its attributes and the decision step at which it lost",
        },
        limit: { type: "number", default: defaultLimit, describe: "At most so many paths" },
        output,
      })
      .example("$0 bgp routes 10.244.1.7 --why", "where packets to a pod go, and why there"),
  handler: (args) => routes(args, terminal),
});

const target = {
  type: "string",
  demandOption: true,
  describe: "Name or address, or all",
} as const;
const message = {
  alias: "m",
  type: "string",
  describe: "Said to the peer, and shown there (RFC 9003); at most 255 bytes",
} as const;

const bgpRefresh = command({
  command: "refresh <peer>",
  describe: "exchange all routes with a peer again; the session stays",
  builder: (yargs) =>
    storeFlags(yargs)
      .positional("peer", target)
      .options({
        direction: {
          choices: ["in", "out"] as const,
          describe: "Only ask it (in, RFC 2918), or only tell it (out)",
        },
      }),
  handler: (args) => operate("refresh", args, terminal),
});

const bgpReset = command({
  command: "reset <peer>",
  describe: "end a session; it starts again by itself",
  builder: (yargs) => storeFlags(yargs).positional("peer", target).options({ message }),
  handler: (args) => operate("reset", args, terminal),
});

const bgpShutdown = command({
  command: "shutdown <peer>",
  describe: "end a session until `bgp start`, or until bgpd restarts",
  builder: (yargs) =>
    storeFlags(yargs)
      .positional("peer", target)
      .options({ message })
      .example('$0 bgp shutdown tor -m "maintenance until 14:00"', "what the other side's operator reads"),
  handler: (args) => operate("shutdown", args, terminal),
});

const bgpStart = command({
  command: "start <peer>",
  describe: "start a session that was shut down",
  builder: (yargs) => storeFlags(yargs).positional("peer", target),
  handler: (args) => operate("start", args, terminal),
});

/** `margay bgp`. */
export const bgpCommand: CommandModule = group("bgp", "BGP sessions and routes of a node", [
  bgpPeers,
  bgpRoutes,
  bgpRefresh,
  bgpReset,
  bgpShutdown,
  bgpStart,
]);
