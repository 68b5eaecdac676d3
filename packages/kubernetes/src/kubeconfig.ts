import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { parse } from "yaml";
import type { Access } from "./access.ts";
import { tokenFile } from "./access.ts";
import { KubernetesError } from "./errors.ts";

interface Named<K extends string, V> {
  readonly name: string;
  readonly value: V | undefined;
  readonly key: K;
}

interface Cluster {
  readonly server?: string;
  readonly "certificate-authority"?: string;
  readonly "certificate-authority-data"?: string;
  readonly "insecure-skip-tls-verify"?: boolean;
  readonly "tls-server-name"?: string;
}

interface User {
  readonly token?: string;
  readonly tokenFile?: string;
  readonly username?: string;
  readonly password?: string;
  readonly "client-certificate"?: string;
  readonly "client-certificate-data"?: string;
  readonly "client-key"?: string;
  readonly "client-key-data"?: string;
  readonly exec?: unknown;
  readonly "auth-provider"?: unknown;
}

/**
 * The current context of a kubeconfig. Users whose credentials a program gives (`exec`, `auth-provider`) are left to
 * @kubernetes/client-node, which nobody else loads. Throws KubernetesError "configuration", naming the file.
 */
export async function kubeconfigAccess(path: string): Promise<Access> {
  const wrong = (why: string, cause?: unknown) =>
    new KubernetesError("configuration", `kubeconfig ${path}: ${why}`, { cause });
  const config = document(path, wrong);
  const named = <V>(key: string, name: string): V => {
    const list = config[`${key}s`] as readonly Named<string, V>[] | undefined;
    const found = list?.find((one) => one.name === name) as Record<string, V | undefined> | undefined;
    const value = found?.[key];
    if (!value) throw wrong(`there is no ${key} "${name}"`);
    return value;
  };
  const current = config["current-context"];
  if (typeof current !== "string" || current === "")
    throw wrong("no current-context: choose one with kubectl config use-context");
  const context = named<{ cluster: string; user: string; namespace?: string }>("context", current);
  const cluster = named<Cluster>("cluster", context.cluster);
  const user = named<User>("user", context.user);
  if (!cluster.server) throw wrong(`cluster "${context.cluster}" has no server`);
  const blob = (inline: string | undefined, file: string | undefined): Buffer | undefined => {
    if (inline !== undefined) return Buffer.from(inline, "base64");
    return file === undefined ? undefined : contents(resolve(dirname(path), file), wrong);
  };
  const ca = blob(cluster["certificate-authority-data"], cluster["certificate-authority"]);
  const cert = blob(user["client-certificate-data"], user["client-certificate"]);
  const key = blob(user["client-key-data"], user["client-key"]);
  const plain = {
    url: cluster.server.replace(/\/$/, ""),
    tls: {
      ...(ca && { ca }),
      ...(cert && { cert }),
      ...(key && { key }),
      ...(cluster["tls-server-name"] && { servername: cluster["tls-server-name"] }),
      ...(cluster["insecure-skip-tls-verify"] && { rejectUnauthorized: false }),
    },
    namespace: context.namespace ?? "default",
  };
  if (user.exec || user["auth-provider"]) return { ...plain, ...(await byProgram(path)) };
  return { ...plain, authorization: authorizationOf(user, dirname(path)) };
}

function authorizationOf(user: User, directory: string): Access["authorization"] {
  if (user.tokenFile !== undefined) {
    const token = tokenFile(resolve(directory, user.tokenFile));
    return async () => `Bearer ${token()}`;
  }
  if (user.token !== undefined) return async () => `Bearer ${user.token}`;
  if (user.username === undefined) return async () => undefined;
  const basic = Buffer.from(`${user.username}:${user.password ?? ""}`).toString("base64");
  return async () => `Basic ${basic}`;
}

/** client-node runs the program, and again when what it gave expires. */
async function byProgram(path: string): Promise<Pick<Access, "tls" | "authorization">> {
  const { KubeConfig } = await import("@kubernetes/client-node");
  const config = new KubeConfig();
  config.loadFromFile(path);
  const options = async () => {
    const made: Parameters<typeof config.applyToHTTPSOptions>[0] = {};
    await config.applyToHTTPSOptions(made);
    return made;
  };
  const { ca, cert, key, rejectUnauthorized } = (await options()) as Access["tls"];
  return {
    tls: {
      ...(ca && { ca }),
      ...(cert && { cert }),
      ...(key && { key }),
      ...(rejectUnauthorized === false && { rejectUnauthorized }),
    },
    authorization: async () => {
      const { headers } = (await options()) as { headers?: Record<string, string> };
      return headers?.Authorization;
    },
  };
}

type Wrong = (why: string, cause?: unknown) => Error;

function document(path: string, wrong: Wrong): Record<string, unknown> {
  const text = contents(path, wrong).toString();
  try {
    const read: unknown = parse(text);
    if (typeof read === "object" && read !== null) return { ...read };
  } catch (error) {
    throw wrong(`not YAML: ${(error as Error).message}`, error);
  }
  throw wrong("holds no configuration");
}

function contents(path: string, wrong: Wrong): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw wrong(`cannot read ${path}: ${(error as Error).message}`, error);
  }
}
