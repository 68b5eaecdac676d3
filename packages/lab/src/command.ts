import type { Argv, CommandModule } from "yargs";
import { clientCommands } from "./client-commands.ts";
import { type LaunchOptions, launch, launchDetached } from "./launch.ts";
import { podCommands } from "./pod-commands.ts";
import type { SuperviseOptions } from "./supervise.ts";
import { ENCAPSULATIONS, type Encapsulation } from "./topology.ts";

/** `margay lab`. */
export const command: CommandModule = {
  command: "lab",
  describe: "a whole cluster on this machine: nodes, routes, policy, BGP",
  builder: (yargs) => {
    const all = [demo, up, ...podCommands, ...clientCommands, superviseCommand] as CommandModule[];
    return all
      .reduce<Argv>((built, one) => built.command(one), yargs)
      .demandCommand(1, "which lab command?")
      .strict();
  },
  handler: () => {},
};

const layout = (yargs: Argv) =>
  yargs
    .option("name", { type: "string", default: "lab", describe: "Name of the lab; several may run at once" })
    .option("nodes", { type: "number", default: 3, describe: "How many nodes" })
    .option("route-reflectors", {
      type: "number",
      default: 0,
      describe: "How many of them reflect; 0: full mesh",
    })
    .option("pool", { type: "string", describe: "Range of the IPv4 pool instead of 10.244.0.0/16" })
    .option("block-size", { type: "number", describe: "Prefix length of its blocks instead of 26" })
    .option("vxlan", {
      choices: ENCAPSULATIONS,
      describe: "vxlanMode of the pools; CrossSubnet makes two subnets unless told otherwise",
    })
    .option("subnets", { type: "number", describe: "How many subnets the nodes are in, in turn (1)" })
    .option("bgp", {
      type: "boolean",
      default: true,
      describe: "--no-bgp: no node runs bgpd, the agents write all routes to other nodes",
    })
    .option("logs", {
      type: "string",
      describe: "Folder for the daemons' logs (default: inside the lab, gone with it)",
    });

interface LayoutArgs {
  readonly name: string;
  readonly nodes: number;
  readonly routeReflectors: number;
  readonly pool?: string;
  readonly blockSize?: number;
  readonly vxlan?: Encapsulation;
  readonly subnets?: number;
  readonly bgp: boolean;
  readonly logs?: string;
}

const launchOptions = ({
  name,
  nodes,
  routeReflectors,
  pool,
  blockSize,
  vxlan,
  subnets = vxlan === "CrossSubnet" ? 2 : 1,
  bgp,
  logs,
}: LayoutArgs): LaunchOptions => ({
  ...{ name, nodes, routeReflectors, subnets, bgp },
  ...(vxlan && { vxlan }),
  ...((pool || blockSize) && { pool: { ...(pool && { cidr: pool }), ...(blockSize && { blockSize }) } }),
  ...(logs && { logs }),
});

const demo: CommandModule<object, LayoutArgs & { once: boolean; pods: number }> = {
  command: "demo",
  describe: "bring a lab up, show pods, blocks, BGP, routes and a policy at work (what npm start runs)",
  builder: (yargs) =>
    layout(yargs)
      .option("once", {
        type: "boolean",
        default: false,
        describe: "End after the report: exit 0 if all was as expected, else 1",
      })
      .option("pods", { type: "number", default: 6, describe: "How many pods" }) as never,
  handler: async ({ once, pods, ...args }) => {
    process.exitCode = await launch({ ...launchOptions(args), demo: { once, pods } });
  },
};

const up: CommandModule<object, LayoutArgs & { detach: boolean }> = {
  command: "up",
  describe: "bring a lab up without pods, until Ctrl-C",
  builder: (yargs) =>
    layout(yargs).option("detach", {
      alias: "d",
      type: "boolean",
      default: false,
      describe: "Return when it is up; end it with lab down",
    }) as never,
  handler: async ({ detach, ...args }) => {
    if (detach) await launchDetached(launchOptions(args));
    else process.exitCode = await launch(launchOptions(args));
  },
};

/** What `launch` runs inside the new namespaces; for nobody else. */
const superviseCommand: CommandModule<object, { options: string }> = {
  command: "supervise",
  describe: false,
  builder: (yargs) =>
    yargs
      .option("name", { type: "string" })
      .option("options", { type: "string", demandOption: true }) as never,
  handler: async ({ options }) => {
    const { supervise } = await import("./supervise.ts"); // the store and all: not for the commands that only ask
    const code = await supervise(JSON.parse(options) as SuperviseOptions).catch((error: Error) => {
      process.stderr.write(`margay: ${"code" in error ? error.message : error.stack}\n`); // as `margay` itself does
      return 1;
    });
    process.exit(code); // what this process has open (probes' sockets, the store) ends with it
  },
};
