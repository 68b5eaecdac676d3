import { setTimeout as sleep } from "node:timers/promises";
import { ControlError, controlGet } from "@margay/daemon";
import { Netlink } from "@margay/netlink";
import type { CommandModule } from "yargs";

interface Flags {
  readonly runDir: string;
  readonly cniBinDir: string | undefined;
  readonly cniConfDir: string | undefined;
  readonly wait: number;
  readonly stay: boolean;
  readonly awaitDaemonset: string | undefined;
  readonly kubeconfig: string | undefined;
}

const EVERY_MS = 500;

/** `margay cleanup`. */
export const cleanupCommand: CommandModule<object, Flags> = {
  command: "cleanup",
  describe: "take off this node all that agent and bgpd put there",
  builder: (yargs) =>
    yargs
      .options({
        "run-dir": { type: "string", default: "/run/margay", describe: "Directory of the unix sockets" },
        "cni-bin-dir": { type: "string", implies: "cni-conf-dir", describe: "Remove the CNI plugins there" },
        "cni-conf-dir": {
          type: "string",
          implies: "cni-bin-dir",
          describe: "Remove the CNI configuration there",
        },
        wait: { type: "number", default: 0, describe: "Seconds to wait for the daemons to end" },
        stay: { type: "boolean", default: false, describe: "Do nothing, until ended: for a DaemonSet" },
        "await-daemonset": {
          type: "string",
          describe: "Instead: wait until this DaemonSet (namespace/name) is ready on every node",
        },
        kubeconfig: { type: "string", describe: "For that, outside a pod" },
      })
      .usage(
        "$0 cleanup\n\nRemoves routes and nexthop objects of protocols 142 and 143, addresses of protocol 143 on lo, pod and VXLAN interfaces, " +
          "chains, sets and tables whose names begin with margay, the CNI plugins and their configuration, " +
          "and sets ip_forward to what it was before. Nothing of others is touched. Pods that still run lose their network. Refuses while agent or bgpd answer on their sockets.",
      ) as never, // yargs knows the flags by their camel case too, its type does not
  handler: async (flags) => {
    if (flags.stay) await untilEnded();
    else if (flags.awaitDaemonset !== undefined) await untilEverywhere(flags.awaitDaemonset, flags);
    else await cleanUpNode(flags);
  },
};

async function cleanUpNode({ wait, ...flags }: Flags): Promise<void> {
  await until(wait, async () => {
    const running = await daemons(flags.runDir);
    return running.length === 0 ? undefined : `margay ${running.join(" and ")} still run; end them first`;
  });
  const { cleanUp } = await import("./cleanup.ts"); // not for the daemon to load
  const netlink = Netlink.open();
  try {
    const done = await cleanUp({ netlink, ...flags });
    process.stdout.write(done.length === 0 ? "nothing to remove\n" : `${done.join("\n")}\n`);
  } finally {
    netlink.close();
  }
}

async function daemons(runDir: string): Promise<string[]> {
  const asked = ["agent", "bgpd"].map(async (name) => ((await answers(runDir, name)) ? [name] : []));
  return (await Promise.all(asked)).flat();
}

async function answers(runDir: string, name: string): Promise<boolean> {
  try {
    await controlGet(runDir, name, "/ready");
    return true;
  } catch (error) {
    if (error instanceof ControlError && error.code === "not-running") return false;
    throw error;
  }
}

interface DaemonSet {
  readonly metadata: { readonly generation?: number };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly desiredNumberScheduled?: number;
    readonly numberReady?: number;
  };
}

async function untilEverywhere(id: string, { wait, kubeconfig }: Flags): Promise<void> {
  const [namespace = "", name = ""] = id.split("/");
  const { accessTo, apiServer } = await import("@margay/kubernetes");
  const server = apiServer(await accessTo({ kubeconfig }));
  try {
    await until(wait, async () => {
      const path = `/apis/apps/v1/namespaces/${namespace}/daemonsets/${name}`;
      return stillMissing((await server.call({ path })) as DaemonSet); // as the API says
    });
  } finally {
    server.close();
  }
}

function stillMissing({ metadata, status = {} }: DaemonSet): string | undefined {
  const { desiredNumberScheduled: wanted = 0, numberReady: ready = 0, observedGeneration = 0 } = status;
  if (observedGeneration >= (metadata.generation ?? 1) && ready >= wanted) return undefined;
  return `${ready} of ${wanted} nodes are clean`;
}

/** Asks until nothing is amiss; throws what is, `seconds` later. */
async function until(seconds: number, amiss: () => Promise<string | undefined>): Promise<void> {
  for (const end = performance.now() + seconds * 1000; ; await sleep(EVERY_MS)) {
    const what = await amiss();
    if (what === undefined) return;
    if (performance.now() >= end) throw Object.assign(new Error(what), { code: "timeout" });
  }
}

function untilEnded(): Promise<void> {
  const open = setInterval(() => undefined, 1 << 30); // something to wait for
  return new Promise((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const)
      process.once(signal, () => {
        clearInterval(open);
        resolve();
      });
  });
}
