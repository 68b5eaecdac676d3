import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { KubernetesError } from "./errors.ts";
import { kubeconfigAccess } from "./kubeconfig.ts";

/** How to reach an API server, and as whom. */
export interface Access {
  /** Such as https://10.96.0.1:443. */
  readonly url: string;
  readonly tls: {
    readonly ca?: string | Buffer;
    readonly cert?: string | Buffer;
    readonly key?: string | Buffer;
    readonly servername?: string;
    readonly rejectUnauthorized?: boolean;
  };
  /** The Authorization header of the next call, if there is one; tokens change while we run. */
  readonly authorization: () => Promise<string | undefined>;
  /** Where namespaced things of ours go unless told otherwise. */
  readonly namespace: string;
}

const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

/** Whether this process runs in a pod with a service account that it may use. */
export const isInCluster = (env: NodeJS.ProcessEnv = process.env, directory = SERVICE_ACCOUNT): boolean =>
  Boolean(env.KUBERNETES_SERVICE_HOST) && existsSync(join(directory, "token"));

/** By kubeconfig, else as the pod's service account. Throws KubernetesError "configuration". */
export async function accessTo({ kubeconfig }: { kubeconfig?: string | undefined }): Promise<Access> {
  return kubeconfig === undefined ? inCluster() : kubeconfigAccess(kubeconfig);
}

/** The pod's service account. `directory` holds token, ca.crt and namespace. */
export function inCluster(env: NodeJS.ProcessEnv = process.env, directory = SERVICE_ACCOUNT): Access {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = "443" } = env;
  if (!host)
    throw new KubernetesError("configuration", "not in a pod of Kubernetes: name a file with --kubeconfig");
  const token = tokenFile(join(directory, "token"));
  return {
    url: `https://${host.includes(":") ? `[${host}]` : host}:${port}`,
    tls: { ca: read(join(directory, "ca.crt")) },
    authorization: async () => `Bearer ${token()}`,
    namespace: read(join(directory, "namespace")).trim(),
  };
}

/** Tokens are rotated in place: read again when a minute has passed. */
const TOKEN_MS = 60_000;

export function tokenFile(path: string, now: () => number = () => performance.now()): () => string {
  let token = "";
  let readAt = Number.NEGATIVE_INFINITY;
  return () => {
    if (now() - readAt > TOKEN_MS) {
      token = read(path).trim();
      readAt = now();
    }
    return token;
  };
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new KubernetesError("configuration", `cannot read ${path}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}
