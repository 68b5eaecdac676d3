import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type ApiServer, apiServer, memoryApiServer } from "@margay/kubernetes";
import { daemonReady, nodeDaemons, Processes, topology } from "@margay/lab";
import { createNamespace, startApiServer } from "../kubernetes/cluster/api-server.ts";
// @ts-expect-error plain JavaScript: it runs before anything is built
import { toolsFolder } from "../kubernetes/tools.mjs";
import type { Inside } from "./inside.ts";
import { pidOf, raiseAll } from "./process-table.ts";

export const MARGAY = [
  process.execPath,
  fileURLToPath(new URL("../../packages/margay/dist/margay.mjs", import.meta.url)),
];
const PROGRAM = join(toolsFolder() as string, "kube-apiserver");
const FOLDER = "/run/kubernetes-bench";
/** What paths of the pods' namespace begin with. */
export const NAMESPACE = "/api/v1/namespaces/bench";

interface Kubernetes {
  /** Which API server it is. */
  readonly subject: string;
  readonly kubeconfig: string;
  readonly server: ApiServer;
}

/**
 * The lab as a cluster: an API server (kube-apiserver where its tools are built by npm run e2e:kubernetes, the tests' own
 * otherwise), the first node's agent as one that follows it, and the controllers.
 */
export async function kubernetes({ etcd, say }: Inside): Promise<Omit<Kubernetes, "kubeconfig">> {
  mkdirSync(FOLDER);
  const processes = new Processes({
    ...{ logs: FOLDER, dieWithUs: true },
    onExit: ({ name, ended }, words) => say(`${name} ended: ${ended}: ${words}`),
  });
  const { subject, kubeconfig, server } = existsSync(PROGRAM) ? await real(processes) : await simulated();
  say(subject);
  await createNamespace(server, "bench");
  await restartAgent(processes, kubeconfig);
  const flags = [
    "--node",
    "bench",
    "--kubeconfig",
    kubeconfig,
    "--etcd-endpoints",
    etcd,
    "--run-dir",
    FOLDER,
  ];
  const leads = ["--leader-elect-namespace", "bench", "--health-port", "9097"];
  processes.start({ name: "controllers", command: [...MARGAY, "controllers", ...flags, ...leads] });
  raiseAll();
  return { subject, server };
}

async function real(processes: Processes): Promise<Kubernetes> {
  const { admin, kubeconfig } = await startApiServer(processes, { program: PROGRAM, folder: FOLDER });
  return { subject: "kube-apiserver", kubeconfig, server: admin };
}

async function simulated(): Promise<Kubernetes> {
  const { access } = await memoryApiServer();
  const kubeconfig = `${FOLDER}/kubeconfig`;
  const document = {
    "current-context": "c",
    contexts: [{ name: "c", context: { cluster: "c", user: "u", namespace: "bench" } }],
    clusters: [{ name: "c", cluster: { server: access.url } }],
    users: [{ name: "u", user: { token: "t" } }],
  };
  writeFileSync(kubeconfig, JSON.stringify(document));
  return { subject: "the tests' API server", kubeconfig, server: apiServer(access) };
}

/** Node 1's agent again, as one that follows Kubernetes. */
async function restartAgent(processes: Processes, kubeconfig: string): Promise<void> {
  process.kill(Number(pidOf("agent", "n1")), "SIGKILL");
  const [node] = topology({ nodes: 2, routeReflectors: 0 }).nodes;
  const [daemon] = node ? nodeDaemons(node, ["agent"], MARGAY) : [];
  if (!daemon) throw new Error("the lab has no first node");
  const flags = [
    "--kubeconfig",
    kubeconfig,
    "--ip-autodetection-method",
    "none",
    "--ip6-autodetection-method",
    "none",
  ];
  const spec = { ...daemon.process, command: [...daemon.process.command, ...flags] };
  processes.start(spec);
  await daemonReady({ ...daemon, process: spec }, processes);
}

export const createPod = (server: ApiServer, name: string, nodeName: string, labels: object) =>
  server.call({
    ...{ method: "POST", path: `${NAMESPACE}/pods` },
    body: {
      ...{ apiVersion: "v1", kind: "Pod", metadata: { name, namespace: "bench", labels } },
      spec: { nodeName, containers: [{ name: "app", image: "app" }] },
    },
  });

/** Some at a time: the API server refuses a storm. */
export async function together<T>(
  all: readonly T[],
  act: (one: T, i: number) => Promise<unknown>,
): Promise<void> {
  for (let at = 0; at < all.length; at += 50)
    await Promise.all(all.slice(at, at + 50).map((one, i) => act(one, at + i)));
}
