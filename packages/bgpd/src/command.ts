import { readFileSync } from "node:fs";
import { ApiError } from "@margay/api";
import { type DaemonOptions, daemonFlags, type OtherFile, runDaemon } from "@margay/daemon";
import { releaseFilePages } from "@margay/netlink";
import type { CommandModule } from "yargs";
import { readText } from "./standalone/read.ts";
import { startStandalone } from "./standalone/start.ts";
import { wantedOf } from "./standalone/wanted.ts";
import { defaultSecretsDir, startBgpd } from "./start.ts";

/** What `margay bgpd` is started with. */
interface BgpdOptions extends DaemonOptions {
  readonly configFile?: string | undefined;
  readonly check?: boolean | undefined;
  readonly secretsDir: string;
}

/** `margay bgpd`. */
export const command: CommandModule<object, BgpdOptions> = {
  command: "bgpd",
  describe: "daemon: the BGP speaker of one node",
  builder: (yargs) =>
    daemonFlags(
      yargs,
      {
        "health-port": {
          type: "number",
          default: 9098,
          describe: "Port of /healthz, /readyz and /metrics; 0 takes any free one",
        },
        "config-file": {
          type: "string",
          describe:
            "Run alone, as a router or a route reflector, as this YAML file says; read again when it changes. --config takes such a file, too",
        },
        "secrets-dir": {
          type: "string",
          default: defaultSecretsDir,
          describe:
            "Directory of the Secrets that BGPPeers name for their passwords, as Kubernetes mounts them: SECRET/KEY; a change is taken up at once",
        },
        check: {
          type: "boolean",
          implies: "config-file",
          describe: "Only say whether the file of --config-file is right",
        },
      },
      routerFile,
    ).usage(
      "$0 bgpd\n\nRuns on every node, with CAP_NET_ADMIN and CAP_NET_BIND_SERVICE, in the node's network namespace; on a node that runs no pods it is a " +
        "route reflector alone. Announces the node's blocks by BGP, learns those of others, and writes kernel routes (protocol 143). " +
        "Sessions follow from Node, BGPConfiguration and BGPPeer resources, or, without any datastore, from --config-file. Ending it leaves the " +
        "routes in force: peers keep ours for their graceful restart time.",
    ),
  handler: async (options) => {
    const { configFile: path } = options;
    if (options.check && path !== undefined) process.exitCode = check(path);
    else if (path === undefined)
      process.exitCode = await runDaemon({
        name: "bgpd",
        options,
        start: (context) => startBgpd(context, options),
        onQuiet: releaseFilePages,
      });
    else {
      const start = (context: Parameters<typeof startBgpd>[0]) => startStandalone(context, path);
      process.exitCode = await runDaemon({ name: "bgpd", options, start, onQuiet: releaseFilePages });
    }
  },
};

/** A router's file says who we are (`local`), which is no flag. */
const routerFile: OtherFile = (values, path) => ("local" in values ? { "config-file": path } : undefined);

/** The exit code: 1 when the file is wrong, each fault on a line of its own; what works otherwise than it looks is said of a right one. */
function check(path: string): number {
  try {
    const file = readText(readFileSync(path, "utf8"), path);
    const counts = [counted(file.neighbors, "neighbor"), counted(file.networks, "network")];
    const { peers, ranges = [] } = wantedOf(file, { interfaces: [] });
    const warnings = [...peers.values(), ...ranges.map(({ template }) => template)].flatMap(
      ({ name, warnings = [] }) => warnings.map((warning) => `${name}: ${warning}`),
    );
    process.stdout.write(`${[`${path} is right: ${counts.join(", ")}`, ...warnings].join("\n")}\n`);
    return 0;
  } catch (error) {
    if (!(error instanceof ApiError || (error as NodeJS.ErrnoException).code)) throw error;
    process.stderr.write(`${(error as Error).message}\n`);
    return 1;
  }
}

const counted = ({ length }: readonly unknown[], what: string): string =>
  `${length} ${what}${length === 1 ? "" : "s"}`;
