import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Container, SecurityContext } from "./objects.ts";
import { runtimeDefault } from "./seccomp.ts";

export interface Place {
  /** Unpacked image. */
  readonly rootfs: string;
  /** Path of the network namespace to run in. */
  readonly netns: string;
  readonly env: Readonly<Record<string, string>>;
  /** Host folder or file -> path in the container. */
  readonly mounts: readonly {
    readonly source: string;
    readonly destination: string;
    readonly readOnly: boolean;
  }[];
}

/** What a container runtime gives root when nothing is said. */
const DEFAULT = [
  "CHOWN",
  "DAC_OVERRIDE",
  "FSETID",
  "FOWNER",
  "MKNOD",
  "NET_RAW",
  "SETGID",
  "SETUID",
  "SETFCAP",
  "SETPCAP",
  "NET_BIND_SERVICE",
  "SYS_CHROOT",
  "KILL",
  "AUDIT_WRITE",
];

/** Capabilities by a container's securityContext, as the CRI says. Pure. */
export function capabilities({ capabilities: { drop = [], add = [] } = {} }: SecurityContext): string[] {
  const kept = drop.includes("ALL") ? [] : DEFAULT.filter((name) => !drop.includes(name));
  return [...new Set([...kept, ...add])].map((name) => `CAP_${name}`);
}

const MASKED = ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"];
const READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/** The OCI runtime's config.json for a container (no cgroup: the lab has none). */
export function ociConfig(container: Container, place: Place): object {
  const { securityContext = {}, command, args = [] } = container;
  const { runAsUser: uid = 0, runAsGroup: gid = 0, privileged = false } = securityContext;
  const all = capabilities(securityContext);
  const held = uid === 0 ? all : []; // without file capabilities a user's process has none
  const expand = (text: string) =>
    text.replace(/\$\(([A-Za-z0-9_]+)\)/g, (whole, name: string) => place.env[name] ?? whole);
  return {
    ociVersion: "1.0.0",
    process: {
      terminal: false,
      user: { uid, gid },
      args: [...(command ?? ["/usr/local/bin/margay"]), ...args].map(expand),
      env: Object.entries({ PATH: "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", ...place.env }).map(
        ([k, v]) => `${k}=${v}`,
      ),
      cwd: "/",
      capabilities: { bounding: all, effective: held, permitted: held, inheritable: [], ambient: [] },
      noNewPrivileges: securityContext.allowPrivilegeEscalation === false,
    },
    root: { path: place.rootfs, readonly: securityContext.readOnlyRootFilesystem ?? false },
    mounts: [
      { destination: "/proc", type: "proc", source: "proc" },
      { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755"] },
      { destination: "/sys", type: "bind", source: "/sys", options: ["rbind", "ro"] },
      { destination: "/run", type: "tmpfs", source: "tmpfs", options: ["mode=755"] },
      ...place.mounts.map(({ source, destination, readOnly }) => ({
        ...{ destination, source, type: "bind" },
        options: ["rbind", "rslave", readOnly ? "ro" : "rw"],
      })),
    ],
    linux: {
      rootfsPropagation: "rslave", // as for mounts that are HostToContainer
      namespaces: [
        { type: "mount" },
        { type: "pid" },
        { type: "ipc" },
        { type: "uts" },
        { type: "network", path: place.netns },
      ],
      ...(!privileged && { maskedPaths: MASKED, readonlyPaths: READ_ONLY }),
      ...(securityContext.seccompProfile?.type === "RuntimeDefault" && { seccomp: runtimeDefault(all) }),
    },
  };
}

/** Writes the bundle; @returns words that run it in the foreground. */
export function bundle(id: string, config: object): string[] {
  const folder = join("/run/bundles", id);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  return [...CRUN, "run", "-b", folder, id];
}

export const CRUN = ["crun", "--root", "/run/crun", "--cgroup-manager=disabled"] as const;
