import { spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";

/** What has to be allowed: addresses past IPAM, and floating ones. */
export const FEATURES = ["ip_addrs_no_ipam", "floating_ips"] as const;
export type Feature = (typeof FEATURES)[number];

export interface InstallOptions {
  /** Where the container runtime looks for plugins. */
  readonly binDir: string;
  /** Where it looks for network configurations. */
  readonly confDir: string;
  /** The compiled relay; without it, a script that runs `margay cni`. */
  readonly relay: string;
  /** Path of node and of the margay executable, for that script. */
  readonly margay: readonly string[];
  /** The agent's socket, when it is not the default. */
  readonly socket?: string;
  /** Bytes; the agent decides when absent. */
  readonly mtu?: number;
  /** Annotations that pods may use, by Calico's names of them in `feature_control`. */
  readonly features?: readonly Feature[] | undefined;
  /** Who gives addresses, as the configuration's `ipam` says it; Margay when absent. */
  readonly ipam?: OtherIpam | undefined;
}

/** Another plugin's configuration, such as host-local's. */
export interface OtherIpam {
  readonly type: string;
  readonly [setting: string]: unknown;
}

/** As it stands on a command line. Throws Error. */
export function parseIpam(text: string): OtherIpam {
  const parsed = JSON.parse(text) as Partial<OtherIpam> | null;
  if (typeof parsed?.type !== "string") throw new Error(`no JSON object with a "type": ${text}`);
  return { ...parsed, type: parsed.type };
}

/** The running executable and its compiled relay, as `install` wants them. */
export const installed = (): Pick<InstallOptions, "relay" | "margay"> => {
  const self = resolve(process.argv[1] ?? "margay");
  return { relay: join(dirname(self), "margay-cni"), margay: [process.execPath, self] };
};

/** Where the network configuration is, once installed. */
const conflistPath = (confDir: string): string => join(confDir, "10-margay.conflist");

/** The plugins' names: the same relay, told apart by the name it is executed by. */
const NAMES = ["margay-cni", "margay-ipam"] as const;

/**
 * Installs the plugins, then the network configuration, each by rename: a runtime never executes half a
 * file, and a node is not ready before its plugin is there. Answers the paths written.
 */
export function install(options: InstallOptions): string[] {
  const { binDir, confDir, relay } = options;
  mkdirSync(binDir, { recursive: true });
  mkdirSync(confDir, { recursive: true });
  const plugins = NAMES.map((name) =>
    place(join(binDir, name), 0o755, (fresh) =>
      existsSync(relay) ? copyFileSync(relay, fresh) : writeFileSync(fresh, script(options, name)),
    ),
  );
  const conf = `${JSON.stringify(conflist(options), undefined, 2)}\n`;
  return [...plugins, place(conflistPath(confDir), 0o600, (fresh) => writeFileSync(fresh, conf))];
}

/** All that `install` puts there: the configuration first, then the plugins. */
export const installPaths = ({ binDir, confDir }: Pick<InstallOptions, "binDir" | "confDir">): string[] => [
  conflistPath(confDir),
  ...NAMES.map((name) => join(binDir, name)),
];

/** Takes off what `install` put there, in that order. Answers the paths removed. */
export function uninstall(where: Pick<InstallOptions, "binDir" | "confDir">): string[] {
  const paths = installPaths(where);
  const there = [...paths, ...paths.map(freshOf)].filter((path) => existsSync(path));
  for (const path of there) rmSync(path);
  return there;
}

/** Behind ours, where it is installed: a listed plugin that is missing would fail every ADD. */
const PORTMAP = { type: "portmap", snat: true, capabilities: { portMappings: true } } as const;

/** What GC and STATUS came with. */
const NEWEST = "1.1.0";

/**
 * The configuration of a chain: Margay, then host ports if there is who sets them. Not `bandwidth`: the same annotations tell the
 * agent, and two of them on one interface stop the pod. "cniVersions" is for runtimes that know 1.1.0; older ones take
 * "cniVersion", and would fail with a newer one.
 */
export function conflist({
  socket,
  mtu,
  binDir,
  features = [],
  ipam,
}: Pick<InstallOptions, "socket" | "mtu" | "binDir" | "features" | "ipam">): object {
  const hasPortmap = existsSync(join(binDir, PORTMAP.type));
  const others = [...(hasPortmap ? [PORTMAP.type] : []), ...(ipam ? [ipam.type] : [])];
  const areNew = others.every((type) => knowsNewest(join(binDir, type)));
  return {
    cniVersion: "1.0.0",
    ...(areNew && { cniVersions: ["1.0.0", NEWEST] }),
    name: "margay",
    plugins: [
      {
        type: "margay-cni",
        capabilities: { ips: true, mac: true, dns: true },
        ...(socket && { socket }),
        ...(mtu && { mtu }),
        ...(ipam && { ipam }),
        ...(features.length > 0 && {
          feature_control: Object.fromEntries(features.map((name) => [name, true])),
        }),
      },
      ...(hasPortmap ? [PORTMAP] : []),
    ],
  };
}

/** A plugin has this long to say which versions it knows. */
const VERSION_MS = 2000;

/** By CNI VERSION; one that cannot be asked knows what plugins knew before. */
function knowsNewest(plugin: string): boolean {
  const options = {
    env: { CNI_COMMAND: "VERSION" },
    input: `{"cniVersion":"${NEWEST}"}`,
    timeout: VERSION_MS,
  };
  const { status, stdout } = spawnSync(plugin, [], { ...options, encoding: "utf8" });
  return status === 0 && stdout.includes(`"${NEWEST}"`);
}

const script = ({ margay }: InstallOptions, name: string): string =>
  `#!/bin/sh\nMARGAY_ARGV0=${name} exec ${margay.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ")} cni\n`;

function place(path: string, mode: number, write: (fresh: string) => void): string {
  const fresh = freshOf(path);
  write(fresh);
  chmodSync(fresh, mode);
  renameSync(fresh, path);
  return path;
}

/** No runtime reads a name like that. */
const freshOf = (path: string): string => join(dirname(path), `.${basename(path)}.new`);
