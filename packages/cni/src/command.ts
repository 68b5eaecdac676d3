import type { CommandModule } from "yargs";
import { FEATURES, type Feature, install, installed, type OtherIpam, parseIpam } from "./install.ts";
import { serveStdio } from "./stdio.ts";

interface InstallFlags {
  readonly "bin-dir": string;
  readonly "conf-dir": string;
  readonly relay: string | undefined;
  readonly socket: string | undefined;
  readonly mtu: number | undefined;
  readonly feature: readonly Feature[] | undefined;
  readonly ipam: OtherIpam | undefined;
}

const installCommand: CommandModule<object, InstallFlags> = {
  command: "install",
  describe: "install the CNI plugins and their network configuration on this node",
  builder: (yargs) =>
    yargs
      .option("bin-dir", {
        type: "string",
        default: "/opt/cni/bin",
        describe: "where the container runtime looks for plugins",
      })
      .option("conf-dir", {
        type: "string",
        default: "/etc/cni/net.d",
        describe: "where it looks for network configurations",
      })
      .option("relay", {
        type: "string",
        describe: "the compiled relay [default: margay-cni beside this executable]",
      })
      .option("socket", { type: "string", describe: "the agent's socket [default: /run/margay/cni.sock]" })
      .option("mtu", { type: "number", describe: "MTU of pods in bytes [default: the agent decides]" })
      .option("feature", {
        choices: FEATURES,
        array: true,
        describe: "an annotation that pods may use [default: neither]",
      })
      .option("ipam", {
        type: "string",
        coerce: (text: string | undefined) => (text === undefined ? undefined : parseIpam(text)),
        describe: "another plugin that gives addresses, as JSON [default: Margay's own]",
      })
      .usage(
        "$0 cni install\n\nCopies margay-cni and margay-ipam, then writes 10-margay.conflist; from then on the runtime calls the agent " +
          "for every new pod. Repeating it updates all three.",
      ),
  handler: ({ "bin-dir": binDir, "conf-dir": confDir, relay, socket, mtu, feature, ipam }) => {
    const written = install({
      ...installed(),
      ...{ binDir, confDir },
      ...(relay && { relay }),
      ...(socket && { socket }),
      ...(mtu && { mtu }),
      ...(feature && { features: feature }),
      ...(ipam && { ipam }),
    });
    process.stdout.write(written.map((path) => `installed ${path}\n`).join(""));
  },
};

/** `margay cni`: the relay itself where the compiled one cannot be, and `margay cni install`. */
export const command: CommandModule = {
  command: "cni",
  describe: "run one CNI call (where the static relay cannot be)",
  builder: (yargs) =>
    yargs
      .command(installCommand)
      .usage(
        "$0 cni\n\nDoes what the margay-cni plugin does: takes a CNI call from the environment and standard input, passes it to the " +
          "agent's socket and prints the answer. VERSION is answered here.",
      ),
  handler: serveStdio,
};
