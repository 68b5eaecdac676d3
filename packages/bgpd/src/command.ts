import { type DaemonOptions, daemonFlags, runDaemon } from "@margay/daemon";
import type { CommandModule } from "yargs";
import { startBgpd } from "./start.ts";

/** `margay bgpd`. */
export const command: CommandModule<object, DaemonOptions> = {
  command: "bgpd",
  describe: "daemon: the BGP speaker of one node",
  builder: (yargs) =>
    daemonFlags(yargs, {
      "health-port": {
        type: "number",
        default: 9098,
        describe: "Port of /healthz, /readyz and /metrics; 0 takes any free one",
      },
    }).usage(
      "$0 bgpd\n\nRuns on every node, with CAP_NET_ADMIN and CAP_NET_BIND_SERVICE, in the node's network namespace; on a node that runs no pods it is a " +
        "route reflector alone. Announces the node's blocks by BGP, learns those of others, and writes kernel routes (protocol 143). " +
        "Sessions follow from Node, BGPConfiguration and BGPPeer resources. Ending it leaves the routes in force: peers keep ours " +
        "for their graceful restart time.",
    ),
  handler: async (options) => {
    process.exitCode = await runDaemon({ name: "bgpd", options, start: startBgpd });
  },
};
