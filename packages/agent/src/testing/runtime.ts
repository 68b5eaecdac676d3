import { join } from "node:path";
import { relay } from "@margay/cni";

/** What a runtime says besides what all calls have. */
interface More {
  readonly env?: Readonly<Record<string, string>>;
  readonly conf?: object;
}

/**
 * Calls the agent whose sockets are in `runDir`, through the relay, as a container runtime does: for pod `default/POD`, whose network
 * namespace lies in /run/netns under that name.
 */
export const cniCall = (runDir: string, command: string, pod: string, { env = {}, conf = {} }: More = {}) =>
  relay({
    argv0: "margay-cni",
    env: {
      ...{ CNI_COMMAND: command, CNI_CONTAINERID: `c-${pod}`, CNI_NETNS: `/run/netns/${pod}` },
      ...{ CNI_IFNAME: "eth0", CNI_ARGS: `K8S_POD_NAMESPACE=default;K8S_POD_NAME=${pod}` },
      MARGAY_CNI_SOCKET: join(runDir, "cni.sock"),
      ...env,
    },
    stdin: Buffer.from(JSON.stringify({ cniVersion: "1.1.0", name: "margay", type: "margay-cni", ...conf })),
  });

const TRIES = 20;

/** The same with ADD, and again while it is to be tried again later (CNI's error 11), as a node that has too much to do answers. */
export async function cniAdd(runDir: string, pod: string, more: More = {}) {
  for (let tries = 1; ; tries++) {
    const reply = await cniCall(runDir, "ADD", pod, more);
    const isLate = reply.exitCode !== 0 && (JSON.parse(reply.stdout) as { code?: number }).code === 11;
    if (!isLate || tries === TRIES) return reply;
  }
}
