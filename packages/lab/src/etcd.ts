import { until } from "./exec.ts";
import { bare, FABRIC } from "./places.ts";
import type { ProcessSpec } from "./processes.ts";

export const ENDPOINT = `http://${bare(FABRIC.ipv4)}:2379`;
const PEER = `http://${bare(FABRIC.ipv4)}:2380`;

/** etcd with its data in the lab's tmpfs. */
export function etcd(): ProcessSpec {
  const command = [
    ...["etcd", "--name", "lab", "--data-dir", "/run/etcd", "--logger", "zap", "--log-outputs", "stderr"],
    ...["--listen-client-urls", ENDPOINT, "--advertise-client-urls", ENDPOINT],
    ...[
      "--listen-peer-urls",
      PEER,
      "--initial-advertise-peer-urls",
      PEER,
      "--initial-cluster",
      `lab=${PEER}`,
    ],
  ];
  return { name: "etcd", command, env: { ETCD_UNSUPPORTED_ARCH: process.arch === "arm64" ? "arm64" : "" } };
}

/** Resolves when etcd says it is healthy. */
export async function etcdReady(): Promise<void> {
  const ask = async () => {
    const answer = await fetch(`${ENDPOINT}/health`).catch(() => undefined);
    return answer?.ok ? true : undefined;
  };
  await until(ask, { timeoutMs: 60_000, everyMs: 25, what: "etcd is not healthy" });
}
