import { readFileSync } from "node:fs";
import { etcdStore, type Store } from "@margay/datastore";
import type { StoreOptions } from "./flags.ts";

/** A flag names a file that is of no use; the message says which and why. */
class FlagError extends Error {
  override readonly name = "FlagError";
  readonly code = "unreadable";
}

/** The datastore that the flags name. Reads the certificate files; connects on first use. Throws FlagError. */
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
    throw new FlagError(`${flag} ${path} cannot be read: ${String(error)}`, { cause: error });
  }
  if (!text.includes("-----BEGIN ")) throw new FlagError(`${flag} ${path} is not a PEM file`);
  return text;
}
