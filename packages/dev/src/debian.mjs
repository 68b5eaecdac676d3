// The Debian packages that the lab, the daemons and the tests execute.
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { run, SetupError, telling } from "./progress.mjs";

/** Package -> a program it brings, looked for where dpkg is missing. */
export const PACKAGES = {
  "etcd-server": "etcd",
  "etcd-client": "etcdctl",
  iptables: "iptables",
  ipset: "ipset",
  nftables: "nft",
  bird2: "bird",
  frr: "vtysh",
  gobgpd: "gobgpd",
  openbgpd: "bgpctl",
  conntrack: "conntrack",
  iproute2: "ip",
  "iputils-ping": "ping",
  "netcat-openbsd": "nc",
  iperf3: "iperf3",
  openssl: "openssl",
  procps: "sysctl",
  tcpdump: "tcpdump",
  "containernetworking-plugins": undefined, // lives in /usr/lib/cni; only the benchmarks use it
  gcc: "gcc",
  "libc6-dev": undefined,
};

/** Services that Debian would start and enable; the lab runs its own copies in its own namespaces. */
const SERVICES = {
  "etcd-server": "etcd",
  bird2: "bird",
  frr: "frr",
  gobgpd: "gobgpd",
  openbgpd: "openbgpd",
};
const POLICY = "/usr/sbin/policy-rc.d";
const MARK = "# written by margay set-up while apt runs; safe to remove";

/**
 * Installs what is missing of `packages`, by default what everything needs (as root), or throws the one line that does it.
 * @returns false when nothing was missing
 */
export async function debianPackages(log, packages = PACKAGES) {
  const missing = await missingPackages(packages);
  if (missing.length === 0) return false;
  const line = `apt-get update && apt-get install -y --no-install-recommends ${missing.join(" ")}`;
  if (!existsSync("/usr/bin/apt-get"))
    throw new SetupError(`missing: ${missing.join(", ")}; Margay's lab is made for Debian 12`);
  if (!isRoot()) throw new SetupError(`Debian packages are missing; as root: ${line}`);
  await withoutStartingServices(async () => {
    const env = { DEBIAN_FRONTEND: "noninteractive" };
    const update = await run("apt-get", ["update", "-o", "APT::Update::Error-Mode=any"], { env, log });
    const install = await run("apt-get", ["install", "-y", "--no-install-recommends", ...missing], {
      env,
      log,
    });
    if (install.code !== 0) {
      const why = telling(update.code !== 0 ? update.output : install.output);
      throw new SetupError(`apt-get could not install ${missing.join(" ")}: ${why} (all of it: ${log})`);
    }
  });
  for (const name of missing) await disable(SERVICES[name], log);
}

async function missingPackages(packages) {
  if (!existsSync("/usr/bin/dpkg-query"))
    return Object.keys(packages).filter((name) => !onPath(packages[name]));
  const format = ["Package", "db:Status-Status"]
    .map((field) => `$\{${field}}`)
    .join(" ")
    .concat("\n");
  const { output } = await run("dpkg-query", ["-W", "-f", format, ...Object.keys(packages)]);
  const installed = new Set(
    output
      .split("\n")
      .filter((line) => line.endsWith(" installed"))
      .map((line) => line.split(" ")[0]),
  );
  return Object.keys(packages).filter((name) => !installed.has(name));
}

const onPath = (program) =>
  program === undefined ||
  process.env.PATH.split(delimiter).some((folder) => existsSync(join(folder, program)));

/** Real root: inside a user namespace uid 0 can install nothing. */
function isRoot() {
  return process.getuid() === 0 && /^\s*0\s+0\s+4294967295/.test(readFileSync("/proc/self/uid_map", "utf8"));
}

/** Debian's own guard (invoke-rc.d asks policy-rc.d; 101 = do not start). One that stands already is left alone. */
async function withoutStartingServices(work) {
  const ours = !existsSync(POLICY) || readFileSync(POLICY, "utf8").includes(MARK);
  const remove = () => ours && rmSync(POLICY, { force: true });
  if (ours) writeFileSync(POLICY, `#!/bin/sh\n${MARK}\nexit 101\n`, { mode: 0o755 });
  process.on("exit", remove);
  try {
    await work();
  } finally {
    process.off("exit", remove);
    remove();
  }
}

/** A service that came with a package just installed shall not start at the next boot either. */
async function disable(service, log) {
  if (service && existsSync("/usr/bin/systemctl")) await run("systemctl", ["disable", service], { log });
}
