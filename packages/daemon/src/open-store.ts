import { readFileSync } from "node:fs";
import { etcdStore, type Store } from "@margay/datastore";
import type { StoreOptions } from "./flags.ts";

/**
 * The datastore that the flags name. Reads the certificate files; connects on first use. Throws naming flag
 * and file.
 */
export function openStore(options: StoreOptions): Store {
  const { etcdEndpoints, etcdCa, etcdCert, etcdKey, etcdUsername, etcdPassword } = options;
  return etcdStore({
    endpoints: etcdEndpoints,
    ...(etcdCa !== undefined && { ca: pem("--etcd-ca", etcdCa) }),
    ...(etcdCert !== undefined && { cert: pem("--etcd-cert", etcdCert) }),
    ...(etcdKey !== undefined && { key: pem("--etcd-key", etcdKey) }),
    ...(etcdUsername !== undefined && { username: etcdUsername }),
    ...(etcdPassword !== undefined && { password: etcdPassword }),
  });
}

function pem(flag: string, path: string): string {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new Error(`${flag} ${path} cannot be read: ${String(error)}`, { cause: error });
  }
  if (!text.includes("-----BEGIN ")) throw new Error(`${flag} ${path} is not a PEM file`);
  return text;
}
