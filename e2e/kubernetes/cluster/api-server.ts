import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type ApiServer, accessTo, apiServer } from "@margay/kubernetes";
import { bare, ENDPOINT, FABRIC, type Processes, until } from "@margay/lab";
import { ensure } from "./api.ts";
import { authority, openssl, signed } from "./certificates.ts";

export const API_HOST = bare(FABRIC.ipv4);
export const API_PORT = 6443;
/** Of the Service `kubernetes`, which the API server makes itself: the first of its range. */
export const SERVICE_ADDRESS = "10.96.0.1";

const AUDIT = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{ level: Metadata }]
`;

export interface RunningApiServer {
  /** As cluster administrator. */
  readonly admin: ApiServer;
  readonly kubeconfig: string;
  readonly ca: string;
  readonly auditLog: string;
}

/** A kube-apiserver on the fabric, on the lab's etcd beside Margay's keys, with certificates of its own in `folder`. */
export async function startApiServer(
  processes: Processes,
  { program, folder }: { program: string; folder: string },
): Promise<RunningApiServer> {
  certificates(folder);
  const file = (name: string) => join(folder, name);
  writeFileSync(file("audit.yaml"), AUDIT);
  const flags = {
    "etcd-servers": ENDPOINT,
    "bind-address": API_HOST,
    "advertise-address": API_HOST,
    "secure-port": API_PORT,
    "service-cluster-ip-range": "10.96.0.0/16",
    "tls-cert-file": file("server.crt"),
    "tls-private-key-file": file("server.key"),
    "client-ca-file": file("ca.crt"),
    "service-account-issuer": "https://kubernetes.default.svc",
    "service-account-key-file": file("sa.key"),
    "service-account-signing-key-file": file("sa.key"),
    "authorization-mode": "RBAC",
    "audit-policy-file": file("audit.yaml"),
    "audit-log-path": file("audit.log"),
    "allow-privileged": true, // the aggregated default of kubeadm
    "cert-dir": folder,
  };
  const words = Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
  processes.start({ name: "kube-apiserver", command: [program, ...words] });
  writeFileSync(file("kubeconfig"), kubeconfig(folder));
  const admin = apiServer(await accessTo({ kubeconfig: file("kubeconfig") }));
  await until(() => admin.call({ path: "/readyz/ping" }).then(() => true as const, notJson), {
    timeoutMs: 600_000,
    everyMs: 250,
    what: () => `kube-apiserver is not ready: ${processes.lastWords("kube-apiserver")}`,
  });
  await until(
    () =>
      admin.call({ path: "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical" }).then(
        () => true as const,
        () => undefined,
      ),
    {
      timeoutMs: 300_000,
      everyMs: 250,
      what: "its own objects are not there",
    },
  );
  return { admin, kubeconfig: file("kubeconfig"), ca: file("ca.crt"), auditLog: file("audit.log") };
}

/** /readyz answers "ok", which is no JSON: that is an answer too. */
const notJson = (error: Error): true | undefined =>
  /JSON|Unexpected token/.test(`${error} ${error.cause}`) ? true : undefined;

/** What a controller-manager would make: the service account that pods have unless they name one. */
export async function createNamespace(admin: ApiServer, name: string, labels: object = {}): Promise<void> {
  await ensure(admin, "/api/v1/namespaces", {
    apiVersion: "v1",
    kind: "Namespace",
    metadata: { name, labels },
  });
  const account = {
    apiVersion: "v1",
    kind: "ServiceAccount",
    metadata: { name: "default", namespace: name },
  };
  await ensure(admin, `/api/v1/namespaces/${name}/serviceaccounts`, account);
}

function certificates(folder: string): void {
  authority(folder, "ca");
  openssl(folder, "genrsa", "-out", "sa.key", "2048");
  const extension = `subjectAltName=IP:${API_HOST},IP:${SERVICE_ADDRESS},DNS:kubernetes.default.svc`;
  signed(folder, { name: "server", subject: "/CN=kube-apiserver", extension });
  const admin = { name: "admin", subject: "/O=system:masters/CN=admin" };
  signed(folder, { ...admin, extension: "extendedKeyUsage=clientAuth" });
}

function kubeconfig(folder: string): string {
  const data = (name: string) => readFileSync(join(folder, name)).toString("base64");
  const [cluster, user] = ["lab", "admin"];
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": cluster,
    contexts: [{ name: cluster, context: { cluster, user } }],
    clusters: [
      {
        name: cluster,
        cluster: { server: `https://${API_HOST}:${API_PORT}`, "certificate-authority-data": data("ca.crt") },
      },
    ],
    users: [
      {
        name: user,
        user: { "client-certificate-data": data("admin.crt"), "client-key-data": data("admin.key") },
      },
    ],
  });
}
