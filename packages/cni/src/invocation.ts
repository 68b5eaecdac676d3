import { type Address, NetError, parseAddress, parsePrefix } from "@margay/net";
import { z } from "zod";
import { CniError } from "./errors.ts";
import type { Call } from "./frame.ts";
import { VERSIONS } from "./relay.ts";

export type CniVersion = (typeof VERSIONS)[number];

const flag = z.union([z.boolean(), z.enum(["true", "false"]).transform((text) => text === "true")]);
const ip = z.string().transform((text, context) => {
  try {
    return text.includes("/") ? hostOf(text) : parseAddress(text);
  } catch (error) {
    if (!(error instanceof NetError)) throw error;
    context.addIssue({ code: "custom", message: error.message });
    return z.NEVER;
  }
});

/** What of the network configuration Margay reads; runtimes and other plugins add fields of their own. */
const configuration = z.looseObject({
  cniVersion: z.string().default("0.1.0"),
  name: z.string().min(1),
  type: z.string().optional(),
  mtu: z.int().min(0).max(65535).optional(),
  ipam: z
    .looseObject({
      assign_ipv4: flag.optional(),
      assign_ipv6: flag.optional(),
      ipv4_pools: z.array(z.string()).optional(),
      ipv6_pools: z.array(z.string()).optional(),
    })
    .optional(),
  /** Pod facts from whoever runs pods without Kubernetes (CNI conventions, "args"). */
  args: z
    .looseObject({
      cni: z
        .looseObject({
          labels: z.array(z.object({ key: z.string(), value: z.string() })).optional(),
          ips: z.array(ip).optional(),
        })
        .optional(),
    })
    .optional(),
  /** Capabilities that the runtime fills in (CNI conventions, "ips" and "mac"). */
  runtimeConfig: z
    .looseObject({
      ips: z.array(ip).optional(),
      mac: z
        .string()
        .regex(/^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$/)
        .optional(),
    })
    .optional(),
});

export type Configuration = z.output<typeof configuration>;

export const COMMANDS = ["ADD", "DEL", "CHECK", "GC", "STATUS"] as const;

/** One call, understood. */
export interface Invocation {
  readonly command: (typeof COMMANDS)[number];
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
}

/** Parses and checks a call. Throws CniError 1, 4, 6 or 7, naming the variable or field. */
export function parseCall({ env, stdin }: Call): Invocation {
  const conf = parseConfiguration(stdin);
  const command = COMMANDS.find((known) => known === env.CNI_COMMAND);
  if (!command)
    throw environment(
      "CNI_COMMAND",
      env.CNI_COMMAND,
      `must be one of ${[...COMMANDS, "VERSION"].join(", ")}`,
    );
  const cniVersion = VERSIONS.find((known) => known === conf.cniVersion);
  if (!cniVersion)
    throw new CniError("incompatible-version", `cniVersion ${conf.cniVersion} is not supported`, {
      details: `Supported: ${VERSIONS.join(", ")}.`,
    });
  return {
    ...{ command, cniVersion, conf },
    plugin: env.MARGAY_ARGV0 === "margay-ipam" ? "ipam" : "cni",
    ...attachment(command, env),
    args: parseArgs(env.CNI_ARGS ?? ""),
  };
}

function parseConfiguration(stdin: Uint8Array): Configuration {
  let document: unknown;
  try {
    document = JSON.parse(Buffer.from(stdin).toString());
  } catch (error) {
    throw new CniError("undecodable", "the network configuration on standard input is not JSON", {
      details: (error as SyntaxError).message, // JSON.parse throws nothing else
      cause: error,
    });
  }
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
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(CNI_CONTAINERID))
    throw environment(
      "CNI_CONTAINERID",
      CNI_CONTAINERID,
      "must be letters, digits, '_', '.', '-', the first a letter or digit",
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

/** The address of "10.0.0.5/24": the length is the network's affair. */
function hostOf(text: string): Address {
  parsePrefix(text, { mask: true });
  return parseAddress(text.slice(0, text.indexOf("/")));
}
