import { type Configuration, configuration } from "./configuration.ts";
import { CniError } from "./errors.ts";
import type { Call } from "./frame.ts";
import { VERSIONS } from "./relay.ts";

export type CniVersion = (typeof VERSIONS)[number];

/** Each with the version of the specification that brought it. */
const SINCE = {
  ADD: "0.3.1",
  DEL: "0.3.1",
  CHECK: "0.4.0",
  GC: "1.1.0",
  STATUS: "1.1.0",
} as const satisfies Record<string, CniVersion>;

type Command = keyof typeof SINCE;

/** At most; the longest that runtimes make have 64. */
const MAX_CONTAINER_ID = 100;

/** One call, understood. */
export interface Invocation {
  readonly command: Command;
  /** "ipam" when the relay was executed as margay-ipam: by another plugin, for addresses only. */
  readonly plugin: "cni" | "ipam";
  readonly cniVersion: CniVersion;
  readonly containerId: string;
  /** Path of the pod's network namespace; DEL may come without. */
  readonly netns: string | undefined;
  /** Interface inside the pod. */
  readonly ifname: string;
  /** CNI_ARGS, such as K8S_POD_NAME. */
  readonly args: Readonly<Record<string, string>>;
  readonly conf: Configuration;
  /** As it came: for a plugin that is executed in turn. */
  readonly raw: { readonly env: Call["env"]; readonly document: object };
}

/** Parses and checks a call. Throws CniError 1, 4, 6 or 7, naming the variable or field. */
export function parseCall({ env, stdin }: Call): Invocation {
  const document = parseDocument(stdin);
  const conf = parseConfiguration(document);
  const commands = Object.keys(SINCE) as Command[]; // the keys just written
  const command = commands.find((known) => known === env.CNI_COMMAND);
  if (!command)
    throw environment(
      "CNI_COMMAND",
      env.CNI_COMMAND,
      `must be one of ${[...commands, "VERSION"].join(", ")}`,
    );
  const cniVersion = versionOf(conf, command);
  return {
    ...{ command, cniVersion, conf },
    plugin: env.MARGAY_ARGV0 === "margay-ipam" ? "ipam" : "cni",
    ...attachment(command, env),
    args: parseArgs(env.CNI_ARGS ?? ""),
    raw: { env, document },
  };
}

function versionOf(conf: Configuration, command: Command): CniVersion {
  const known = VERSIONS.find((version) => version === conf.cniVersion);
  if (!known)
    throw new CniError("incompatible-version", `cniVersion ${conf.cniVersion} is not supported`, {
      details: `Supported: ${VERSIONS.join(", ")}.`,
    });
  if (VERSIONS.indexOf(known) >= VERSIONS.indexOf(SINCE[command])) return known;
  throw new CniError("incompatible-version", `cniVersion ${known} has no ${command}`, {
    details: `It came with ${SINCE[command]}.`,
  });
}

function parseDocument(stdin: Uint8Array): object {
  try {
    return JSON.parse(Buffer.from(stdin).toString());
  } catch (error) {
    throw new CniError("undecodable", "the network configuration on standard input is not JSON", {
      details: (error as SyntaxError).message, // JSON.parse throws nothing else
      cause: error,
    });
  }
}

function parseConfiguration(document: object): Configuration {
  const parsed = configuration.safeParse(document);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map(
    ({ path, message }) => `${path.join(".") || "configuration"}: ${message}`,
  );
  throw new CniError("invalid-configuration", `network configuration: ${issues.join("; ")}`);
}

/**
 * The container, namespace and interface, each required where the specification (1.1.0 §2, "Parameters")
 * requires it.
 */
function attachment(command: Invocation["command"], env: Call["env"]) {
  const { CNI_CONTAINERID = "", CNI_NETNS = "", CNI_IFNAME = "" } = env;
  const netns = CNI_NETNS || undefined;
  if (command === "GC" || command === "STATUS") return { containerId: "", netns, ifname: "" };
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(CNI_CONTAINERID) || CNI_CONTAINERID.length > MAX_CONTAINER_ID)
    throw environment(
      "CNI_CONTAINERID",
      CNI_CONTAINERID,
      `must be at most ${MAX_CONTAINER_ID} letters, digits, '_', '.', '-', the first a letter or digit`,
    );
  if (CNI_IFNAME.length > 15 || !/^[^/:\s]+$/.test(CNI_IFNAME) || [".", ".."].includes(CNI_IFNAME))
    throw environment(
      "CNI_IFNAME",
      CNI_IFNAME,
      "must be an interface name: 1 to 15 characters without '/', ':' and spaces",
    );
  if (command !== "DEL" && !netns)
    throw environment("CNI_NETNS", CNI_NETNS, "must be the path of the pod's network namespace");
  return { containerId: CNI_CONTAINERID, netns, ifname: CNI_IFNAME };
}

/** "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web" */
function parseArgs(text: string): Record<string, string> {
  const pairs = text.split(";").filter((pair) => pair !== "");
  return Object.fromEntries(
    pairs.map((pair): [string, string] => {
      const equals = pair.indexOf("=");
      if (equals < 1) throw environment("CNI_ARGS", text, "must be KEY=VALUE pairs separated by ';'");
      return [pair.slice(0, equals), pair.slice(equals + 1)];
    }),
  );
}

function environment(name: string, value: string | undefined, rule: string): CniError {
  const found = value ? JSON.stringify(value) : "nothing";
  return new CniError("invalid-environment", `${name} ${rule}; found ${found}`);
}
