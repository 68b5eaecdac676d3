import { chmodSync, copyFileSync, existsSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

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
}

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
  return [
    ...plugins,
    place(join(confDir, "10-margay.conflist"), 0o600, (fresh) => writeFileSync(fresh, conf)),
  ];
}

/** The configuration of a chain: Margay, then host ports (CNI specification §1). */
export const conflist = ({ socket, mtu }: Pick<InstallOptions, "socket" | "mtu">): object => ({
  cniVersion: "1.0.0",
  name: "margay",
  plugins: [
    { type: "margay-cni", ...(socket && { socket }), ...(mtu && { mtu }) },
    { type: "portmap", snat: true, capabilities: { portMappings: true } },
  ],
});

const script = ({ margay }: InstallOptions, name: string): string =>
  `#!/bin/sh\nMARGAY_ARGV0=${name} exec ${margay.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ")} cni\n`;

function place(path: string, mode: number, write: (fresh: string) => void): string {
  const fresh = `${path}.new`;
  write(fresh);
  chmodSync(fresh, mode);
  renameSync(fresh, path);
  return path;
}
