import { hostname } from "node:os";
import type { Argv, Options } from "yargs";
import { type OtherFile, withSources } from "./flag-sources.ts";

const storeTable = {
  "etcd-endpoints": {
    type: "string",
    default: "http://127.0.0.1:2379",
    coerce: endpoints,
    describe: "etcd servers, comma-separated",
  },
  "etcd-ca": { type: "string", describe: "File (PEM) of the authorities that sign https endpoints" },
  "etcd-cert": { type: "string", implies: "etcd-key", describe: "File (PEM) of our client certificate" },
  "etcd-key": { type: "string", implies: "etcd-cert", describe: "File (PEM) of its key" },
  "etcd-username": { type: "string", implies: "etcd-password", describe: "etcd user" },
  "etcd-password": { type: "string", describe: "Its password; better in MARGAY_ETCD_PASSWORD" },
  "run-dir": { type: "string", default: "/run/margay", describe: "Directory of the unix sockets" },
} as const satisfies Record<string, Options>;

const daemonTable = {
  node: {
    type: "string",
    default: hostname().toLowerCase(),
    defaultDescription: "host name in lower case",
    describe: "Name of this node's Node resource",
  },
  ...storeTable,
  "log-level": {
    choices: ["trace", "debug", "info", "warn", "error"] as const,
    default: "info" as const,
    describe: "Least severe level that is logged",
  },
  "health-address": {
    type: "string",
    default: "127.0.0.1",
    describe: "Address of /healthz, /readyz and /metrics",
  },
  "health-port": { type: "number", default: 9099, coerce: port, describe: "Its port; 0 takes any free one" },
} as const satisfies Record<string, Options>;

/** What `storeFlags` parses to: how to reach the datastore, and the daemons of this node. */
export interface StoreOptions {
  readonly etcdEndpoints: readonly string[];
  readonly etcdCa?: string | undefined;
  readonly etcdCert?: string | undefined;
  readonly etcdKey?: string | undefined;
  readonly etcdUsername?: string | undefined;
  readonly etcdPassword?: string | undefined;
  readonly runDir: string;
}

/** What `daemonFlags` parses to. */
export interface DaemonOptions extends StoreOptions {
  readonly node: string;
  readonly logLevel: string;
  readonly healthAddress: string;
  readonly healthPort: number;
}

/**
 * Adds the flags that every daemon has, and `more` of its own; what `more` says of a common flag, such as
 * another default, is laid over it. Sources and precedence: see `withSources`.
 */
export function daemonFlags<T, More extends Record<string, Options> = Record<never, never>>(
  yargs: Argv<T>,
  more = {} as More,
  other?: OtherFile,
) {
  const common = Object.entries<Options>(daemonTable);
  const merged = Object.fromEntries(common.map(([flag, options]) => [flag, { ...options, ...more[flag] }]));
  return withSources(yargs, { ...more, ...merged } as typeof daemonTable & More, other); // the same keys, merged
}

/** The flags of a command that needs only the datastore and the sockets, such as `margay get`. */
export const storeFlags = <T>(yargs: Argv<T>) => withSources(yargs, storeTable);

/** "a:2379, https://b:2379" or a list of such (from a file), as a list of URLs. */
function endpoints(value: string | readonly string[]): string[] {
  const given = [value]
    .flat()
    .flatMap((text) => text.split(",").map((part) => part.trim()))
    .filter(Boolean);
  const urls = given.map((text) => (text.includes("://") ? text : `http://${text}`));
  const wrong = urls.find((url) => !/^https?:\/\/[^/\s]+:\d+$/.test(url));
  if (wrong !== undefined || urls.length === 0)
    throw new Error(`--etcd-endpoints: "${wrong ?? ""}" is not http(s)://host:port`);
  if (new Set(urls.map((url) => url.split(":")[0])).size > 1)
    throw new Error("--etcd-endpoints: http and https cannot be mixed");
  return urls;
}

function port(value: number): number {
  if (Number.isInteger(value) && value >= 0 && value <= 65535) return value;
  throw new Error("--health-port must be a number from 0 to 65535");
}
