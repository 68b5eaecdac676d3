import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { ApiServer } from "@margay/kubernetes";
import { exec, must, type Outcome, type Processes } from "@margay/lab";
import { get } from "./api.ts";
import { SERVICE_ADDRESS } from "./api-server.ts";
import { bundle, CRUN, ociConfig } from "./container.ts";
import type { Container, EnvVar, Mount, Pod, Volume } from "./objects.ts";

export interface RuntimeOptions {
  readonly admin: ApiServer;
  readonly processes: Processes;
  readonly rootfs: (image: string) => string;
  readonly ca: string;
}

/** What a kubelet tells every container, whatever enableServiceLinks says. */
const API_SERVICE = { KUBERNETES_SERVICE_HOST: SERVICE_ADDRESS, KUBERNETES_SERVICE_PORT: "443" };

/** Whose files a node's hostPath volumes are; /proc/sys is the kernel's for everybody. */
const SHARED = ["/proc/sys", "/var/run/netns"];
export const nodeFolder = (node: string): string => join("/run/nodes", node);
export const onNode = (node: string, path: string): string => {
  if (path === "/var/run/netns") return "/run/netns";
  return SHARED.includes(path) ? path : join(nodeFolder(node), path);
};

/** Runs the containers of host-network pods with crun, from the same pod spec that a kubelet would be given. */
export class Runtime {
  readonly #options: RuntimeOptions;
  #starts = 0;

  constructor(options: RuntimeOptions) {
    this.#options = options;
  }

  /** Starts a container; @returns its process's name. */
  async start(pod: Pod, container: Container): Promise<string> {
    const { admin, processes, rootfs } = this.#options;
    const node = pod.spec.nodeName ?? "";
    const start = ++this.#starts;
    const id = `${pod.metadata.uid}-${container.name}-${start}`;
    const own = await Promise.all((container.env ?? []).map((one) => value(admin, pod, one)));
    const env = { ...API_SERVICE, ...Object.fromEntries(own) };
    const mounts = [...(await this.#mounts(pod, container)), hostsFile(pod)];
    const config = ociConfig(container, {
      rootfs: rootfs(container.image),
      netns: `/run/netns/${node}`,
      env,
      mounts,
    });
    const name = `${node}/${pod.metadata.name}/${container.name}#${start}`;
    processes.start({ name, command: bundle(id, config) });
    this.#ids.set(name, id);
    return name;
  }

  readonly #ids = new Map<string, string>();

  /** SIGTERM, and SIGKILL after the grace period. */
  async stop(name: string, graceMs: number): Promise<void> {
    const { processes } = this.#options;
    const id = this.#ids.get(name) ?? "";
    if (processes.isRunning(name)) await exec([...CRUN, "kill", id, "TERM"]);
    for (const end = performance.now() + graceMs; processes.isRunning(name) && performance.now() < end; )
      await new Promise((resolve) => setTimeout(resolve, 50));
    await this.kill(name);
  }

  /** What `kubectl exec` does: in the container, with its environment. */
  exec(name: string, words: readonly string[]): Promise<Outcome> {
    return exec([...CRUN, "exec", this.#ids.get(name) ?? "", ...words]);
  }

  async pid(name: string): Promise<number> {
    const state = await must([...CRUN, "state", this.#ids.get(name) ?? ""]);
    return (JSON.parse(state) as { pid: number }).pid;
  }

  /** As when its memory ran out. */
  async kill(name: string): Promise<void> {
    await exec([...CRUN, "delete", "--force", this.#ids.get(name) ?? ""]);
  }

  /** SIGSTOP: it holds what it holds and does nothing more, as on a node that has hung. */
  async freeze(name: string): Promise<void> {
    await must([...CRUN, "kill", this.#ids.get(name) ?? "", "STOP"]);
  }

  async thaw(name: string): Promise<void> {
    await must([...CRUN, "kill", this.#ids.get(name) ?? "", "CONT"]);
  }

  forget(pod: Pod): void {
    rmSync(podFolder(pod), { recursive: true, force: true });
  }

  async #mounts(pod: Pod, container: Container) {
    const wanted = container.volumeMounts ?? [];
    const all = await Promise.all(
      wanted.map(async (mount) => {
        const volume = pod.spec.volumes?.find(({ name }) => name === mount.name);
        if (!volume) throw new Error(`${pod.metadata.name}: no volume ${mount.name}`);
        const source = await this.#source(pod, volume, mount);
        return source === undefined
          ? []
          : [{ source, destination: mount.mountPath, readOnly: mount.readOnly ?? false }];
      }),
    );
    return all.flat();
  }

  async #source(pod: Pod, volume: Volume, { subPath }: Mount): Promise<string | undefined> {
    const folder = join(podFolder(pod), volume.name);
    if (volume.hostPath) {
      const path = onNode(pod.spec.nodeName ?? "", volume.hostPath.path);
      if (!existsSync(path)) {
        mkdirSync(volume.hostPath.type === "FileOrCreate" ? dirname(path) : path, { recursive: true });
        if (volume.hostPath.type === "FileOrCreate") writeFileSync(path, "");
      }
      return path;
    }
    if (volume.persistentVolumeClaim) {
      const path = onNode(pod.spec.nodeName ?? "", `/claims/${volume.persistentVolumeClaim.claimName}`);
      mkdirSync(path, { recursive: true });
      return path;
    }
    if (volume.emptyDir) {
      mkdirSync(folder, { recursive: true });
      chmodSync(folder, 0o777);
    } else if (!existsSync(folder)) await this.#fill(pod, volume, folder); // a container's next start asks nobody
    return subPath ? join(folder, subPath) : folder;
  }

  async #fill(pod: Pod, { name, secret, configMap, projected }: Volume, folder: string): Promise<void> {
    const { admin, ca } = this.#options;
    const { namespace = "" } = pod.metadata;
    const at = `/api/v1/namespaces/${namespace}`;
    const files: Record<string, string | Buffer> = {};
    if (secret) {
      const found = await get<{ data?: Record<string, string> }>(admin, `${at}/secrets/${secret.secretName}`);
      if (!found && !secret.optional) throw new Error(`no Secret ${secret.secretName}`);
      for (const [key, text] of Object.entries(found?.data ?? {})) files[key] = Buffer.from(text, "base64");
    } else if (configMap) {
      const found = await get<{ data?: Record<string, string> }>(admin, `${at}/configmaps/${configMap.name}`);
      Object.assign(files, found?.data);
    } else if (projected) {
      const path = `${at}/serviceaccounts/${pod.spec.serviceAccountName ?? "default"}/token`;
      const body = {
        apiVersion: "authentication.k8s.io/v1",
        kind: "TokenRequest",
        spec: { expirationSeconds: 3600 },
      };
      const { status } = (await admin.call({ method: "POST", path, body })) as { status: { token: string } };
      Object.assign(files, { token: status.token, namespace, "ca.crt": readFileSync(ca) });
    } else throw new Error(`volume ${name}: a kind that the lab's kubelet does not know`);
    const gid = pod.spec.securityContext?.fsGroup ?? 0;
    mkdirSync(folder, { recursive: true });
    for (const [key, bytes] of Object.entries(files)) {
      writeFileSync(join(folder, key), bytes, { mode: 0o440 });
      chownSync(join(folder, key), 0, projected ? 65532 : gid);
    }
  }
}

/** /etc/hosts with the pod's hostAliases. */
function hostsFile(pod: Pod) {
  const lines = (pod.spec.hostAliases ?? []).map(({ ip, hostnames }) => `${ip} ${hostnames.join(" ")}\n`);
  mkdirSync(podFolder(pod), { recursive: true });
  const source = join(podFolder(pod), "hosts");
  writeFileSync(source, `127.0.0.1 localhost\n${lines.join("")}`);
  return { source, destination: "/etc/hosts", readOnly: true };
}

const podFolder = (pod: Pod): string => join("/run/pods", pod.metadata.uid ?? "");

async function value(
  admin: ApiServer,
  pod: Pod,
  { name, value: text, valueFrom }: EnvVar,
): Promise<[string, string]> {
  const { fieldRef, secretKeyRef } = valueFrom ?? {};
  if (secretKeyRef) {
    const path = `/api/v1/namespaces/${pod.metadata.namespace}/secrets/${secretKeyRef.name}`;
    const found = await get<{ data?: Record<string, string> }>(admin, path);
    return [name, Buffer.from(found?.data?.[secretKeyRef.key] ?? "", "base64").toString()];
  }
  if (!fieldRef) return [name, text ?? ""];
  const found = fieldRef.fieldPath
    .split(".")
    .reduce((at: unknown, word) => (at as Record<string, unknown>)?.[word], pod);
  return [name, `${found ?? ""}`];
}
