import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { LabError } from "./errors.ts";
import { exec } from "./exec.ts";

/** How the lab is cut off from the machine: flags of unshare(1). */
export interface Isolation {
  readonly flags: readonly string[];
  /** Without one, what the lab started is told to die with it one by one (PR_SET_PDEATHSIG). */
  readonly pidNamespace: boolean;
}

const COMMON = ["--net", "--mount"];
const USER = ["--user", "--map-root-user"];
/** From the most complete to what containers with a masked /proc or without pid namespaces still allow. */
const PIDS = [["--pid", "--mount-proc"], ["--pid"], []] as const;

const PROGRAMS = [
  "unshare",
  "nsenter",
  "setpriv",
  "ip",
  "etcd",
  "bird",
  "birdc",
  "iptables-restore",
  "ipset",
  "conntrack",
];
const PACKAGES = "apt-get install -y iproute2 etcd-server bird2 iptables ipset conntrack util-linux";

/** Programs the lab runs and does not find on PATH: LabError "missing-program". */
export function needPrograms(relay: string): void {
  const folders = (process.env.PATH ?? "").split(delimiter);
  const missing = PROGRAMS.filter((name) => !folders.some((folder) => existsSync(join(folder, name))));
  if (missing.length > 0)
    throw new LabError("missing-program", `not found: ${missing.join(", ")}; as root: ${PACKAGES}`);
  if (!existsSync(relay)) throw new LabError("missing-program", `not built: ${relay}; run: npm run build`);
}

/** The most complete isolation that this machine permits, tried out, not guessed. LabError "no-namespaces" or "kernel". */
export async function isolation(): Promise<Isolation> {
  const root = process.getuid?.() === 0;
  const bases = root ? [COMMON, [...USER, ...COMMON]] : [[...USER, ...COMMON]];
  let refused = "";
  for (const base of bases) {
    for (const pid of PIDS) {
      const flags = [...base, ...pid, "--fork", "--kill-child=SIGKILL"];
      const outcome = await exec(["unshare", ...flags, "sh", "-c", TRIAL]);
      if (outcome.code === 0) return { flags, pidNamespace: pid.length > 0 };
      const [, step] = /^lab-trial: (.*)$/m.exec(outcome.stderr) ?? [];
      if (step) throw new LabError("kernel", `${step} (${outcome.stderr.trim().split("\n")[0]})`);
      refused = outcome.stderr.trim().split("\n")[0] ?? "";
    }
  }
  throw new LabError("no-namespaces", `${root ? NEED_ROOT : NEED_USER} (${refused})`);
}

/** What the lab needs of the kernel inside its namespaces; each failure says what and how. `-n`: mount(8) would leave /run/mount outside. */
const TRIAL = [
  [
    "mount -nt tmpfs tmpfs /run",
    "a tmpfs cannot be mounted: a container needs --cap-add SYS_ADMIN or --privileged",
  ],
  ["ip link add trial0 type bridge", "the kernel has no bridge: modprobe bridge, or CONFIG_BRIDGE"],
  ["ip link add trial1 type veth peer name trial2", "the kernel has no veth: modprobe veth, or CONFIG_VETH"],
  ["mkdir /run/netns && ip netns add trial", "network namespaces cannot be named: CAP_SYS_ADMIN is missing"],
  [
    "iptables -w -nL >/dev/null",
    "iptables does not work: modprobe ip_tables nf_tables, or CAP_NET_ADMIN is missing",
  ],
  ["ipset create trial hash:ip", "the kernel has no ipset: modprobe ip_set ip_set_hash_ip"],
  [
    "echo 1 > /proc/sys/net/ipv4/ip_forward",
    "/proc/sys is read-only: a container needs --privileged (or --security-opt systempaths=unconfined)",
  ],
]
  .map(([command, words]) => `{ ${command}; } || { echo "lab-trial: ${words}" >&2; exit 1; }`)
  .join("\n");

const NEED_ROOT =
  "root may not make namespaces here (no CAP_SYS_ADMIN): in a container, run it with --privileged";
const NEED_USER =
  "not root, and user namespaces are refused: run as root, or allow them (sysctl kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0)";
