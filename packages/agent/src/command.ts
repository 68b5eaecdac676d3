import { setFlagsFromString } from "node:v8";
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
    // The space for new objects would grow to 64 MB in the first burst of pods and stay so; 2 MB serve a node as well.
    setFlagsFromString("--semi-space-growth-factor=1");
    process.exitCode = await runDaemon({ name: "agent", options, start: startAgent });
  },
};
