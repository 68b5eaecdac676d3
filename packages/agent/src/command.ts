import { type DaemonOptions, daemonFlags, runDaemon } from "@margay/daemon";
import type { CommandModule } from "yargs";
import { startAgent } from "./start.ts";

/** `margay agent`. */
export const command: CommandModule<object, DaemonOptions> = {
  command: "agent",
  describe: "daemon: addresses, routes and policy of one node",
  builder: (yargs) =>
    daemonFlags(yargs).usage(
      "$0 agent\n\nRuns on every node, as root, in the node's network namespace. Gives pods addresses and interfaces when the " +
        "container runtime asks (<run-dir>/cni.sock), routes them and enforces policy. Ending it leaves rules and routes in force.",
    ),
  handler: async (options) => {
    process.exitCode = await runDaemon({ name: "agent", options, start: startAgent });
  },
};
