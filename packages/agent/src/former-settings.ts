import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { NetlinkError, readSysctl, sysctl } from "@margay/netlink";

/** The settings of a whole node that an agent sets; those of interfaces go with these. */
const NODE_SETTINGS = ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] as const;

const fileIn = (runDir: string): string => join(runDir, "settings-before.json");

/** Writes down what they were before the first agent of this boot; a run directory lasts as long as they do. */
export function rememberSettings(runDir: string): void {
  const path = fileIn(runDir);
  if (existsSync(path)) return;
  const found = NODE_SETTINGS.map((name) => [name, read(name)] as const);
  const there = Object.fromEntries(found.filter(([, value]) => value !== undefined));
  mkdirSync(runDir, { recursive: true });
  writeFileSync(`${path}.new`, `${JSON.stringify(there)}\n`);
  renameSync(`${path}.new`, path);
}

/** Sets them as they were and forgets. @returns how many were otherwise */
export function restoreSettings(runDir: string): number {
  const path = fileIn(runDir);
  if (!existsSync(path)) return 0;
  const former = JSON.parse(readFileSync(path, "utf8")) as Record<string, string>;
  const changed = Object.entries(former).filter(([name, value]) => read(name) !== value);
  for (const [name, value] of changed) sysctl(name, value);
  rmSync(path);
  return changed.length;
}

/** Undefined where the kernel has no such setting: no IPv6. */
function read(name: string): string | undefined {
  try {
    return readSysctl(name);
  } catch (error) {
    if (error instanceof NetlinkError && error.code === "ENOENT") return undefined;
    throw error;
  }
}
