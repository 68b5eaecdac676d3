import { get } from "node:http";
import { Socket } from "node:net";
import { text } from "node:stream/consumers";
import { socketIn } from "@margay/netlink";
import { LabError } from "./errors.ts";
import { ENDPOINT } from "./etcd.ts";
import { until } from "./exec.ts";
import { namespacePath } from "./fabric.ts";
import { type LabNode, runDir } from "./places.ts";
import type { Processes, ProcessSpec } from "./processes.ts";

/** Where each daemon's health is asked, in its node's namespace: the defaults of both programs. */
const HEALTH_PORT = { agent: 9099, bgpd: 9098 } as const;

export interface Daemon {
  readonly healthPort: number;
  readonly process: ProcessSpec & { readonly namespace: string };
}

export type DaemonKind = keyof typeof HEALTH_PORT;

/** What every node of the lab runs. */
export const daemonKinds = ({ bgp = true }: { readonly bgp?: boolean }): readonly DaemonKind[] =>
  bgp ? ["agent", "bgpd"] : ["agent"];

/** The processes of a node, each in the node's network namespace, started as anybody would start them. Pure. */
export function nodeDaemons(
  { name }: LabNode,
  kinds: readonly DaemonKind[],
  margay: readonly string[],
): Daemon[] {
  return kinds.map((kind) => {
    const flags = ["--node", name, "--etcd-endpoints", ENDPOINT, "--run-dir", runDir(name)];
    // iptables-legacy serialises on this file; the nodes of a real cluster do not share one
    const env = { XTABLES_LOCKFILE: `/run/xtables-${name}.lock` };
    const command = [...margay, kind, ...flags];
    return {
      healthPort: HEALTH_PORT[kind],
      process: { name: `${name}/${kind}`, command, env, namespace: namespacePath(name) },
    };
  });
}

const READY_MS = 60_000;

/** Resolves when the daemon says it is ready. LabError "exited" with its last words, or "timeout" with what it waits for. */
export async function daemonReady(daemon: Daemon, processes: Processes): Promise<void> {
  const { name } = daemon.process;
  let answer = "no answer on its health port";
  const ready = async () => {
    if (!processes.isRunning(name))
      throw new LabError("exited", `${name} has ended:\n${processes.lastWords(name)}`);
    const { status, body } = await readyz(daemon).catch(() => ({ status: 0, body: answer })); // not listening yet
    answer = body.trim();
    return status === 200 ? true : undefined;
  };
  await until(ready, { timeoutMs: READY_MS, everyMs: 50, what: () => `${name} is not ready (${answer})` });
}

/** GET /readyz inside the node's namespace. */
function readyz({ healthPort, process }: Daemon): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const createConnection = () => {
      const fd = socketIn(process.namespace, { family: 4, type: "stream" });
      return new Socket({ fd }).connect({ host: "127.0.0.1", port: healthPort });
    };
    get({ path: "/readyz", createConnection, timeout: 2000 }, (response) => {
      text(response).then((body) => resolve({ status: response.statusCode ?? 0, body }), reject);
    }).once("error", reject);
  });
}
