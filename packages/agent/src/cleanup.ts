import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ownerOfAlias, uninstall } from "@margay/cni";
import { type Backend, Iptables, IptablesError, ipsetTarget } from "@margay/iptables";
import type { Family } from "@margay/net";
import {
  deleteAddress,
  deleteLinks,
  type Link,
  listAddresses,
  listLinks,
  type Netlink,
  routeTarget,
} from "@margay/netlink";
import type { Target } from "@margay/reconcile";
import { restoreSettings } from "./former-settings.ts";
import { DEVICES } from "./overlay/wanted.ts";
import { ROUTE_PROTOCOL } from "./wanted.ts";

/** bgpd's mark on its kernel routes, and on the addresses of `lo` that local workloads peer with. */
const BGPD_PROTOCOL = 143;
const PREFIX = "margay";
/** The names our own tables of nf_tables have, by family. */
const OWN_TABLE = /^table (ip|ip6|inet) margay$/gm;

export interface CleanupOptions {
  readonly netlink: Netlink;
  readonly runDir: string;
  /** Directories of the container runtime; what is of ours there goes too. */
  readonly cniBinDir?: string | undefined;
  readonly cniConfDir?: string | undefined;
}

/**
 * Takes off this node all that agent and bgpd put there, and nothing else: first what brings pods here, then what brings them
 * packets, then the rules, so that nothing is let through on the way. The daemons must have ended. Repeating it does no harm.
 * @returns a line for each kind of thing removed
 */
export async function cleanUp(options: CleanupOptions): Promise<string[]> {
  const { netlink, runDir, cniBinDir: binDir, cniConfDir: confDir } = options;
  const files = binDir && confDir ? uninstall({ binDir, confDir }) : [];
  const routes: [string, Target<unknown>][] = [ROUTE_PROTOCOL, BGPD_PROTOCOL].map((protocol) => [
    `routes of protocol ${protocol}`,
    routeTarget(netlink, { protocol, shareFrom: Number.POSITIVE_INFINITY }) as Target<unknown>, // with nexthop objects of theirs
  ]);
  const counts = [
    ["CNI files", files.length] as const,
    await empty(routes),
    ["addresses", await addresses(netlink)] as const,
    await interfaces(netlink),
    ["rules", await rules()] as const,
    await empty([["sets", ipsetTarget({ prefix: PREFIX }) as Target<unknown>]]),
    ["settings", restoreSettings(runDir)] as const,
    ["files below the run directory", removeFiles(runDir)] as const,
  ];
  return counts.filter(([, count]) => count > 0).map(([what, count]) => `removed ${what}: ${count}`);
}

async function interfaces(netlink: Netlink): Promise<readonly [string, number]> {
  const names = (await listLinks(netlink)).filter(ours).map(({ name }) => name);
  await deleteLinks(netlink, names);
  return ["interfaces", names.length];
}

/** Before Linux 5.18 an address bears no mark: those of bgpd stay then. */
async function addresses(netlink: Netlink): Promise<number> {
  const marked = (await listAddresses(netlink, "lo")).filter(({ protocol }) => protocol === BGPD_PROTOCOL);
  for (const address of marked) await deleteAddress(netlink, "lo", address);
  return marked.length;
}

const ours = ({ name, alias }: Link): boolean =>
  ownerOfAlias(alias) !== undefined || Object.values(DEVICES).includes(name);

/** Removes all that the targets list, in their order. */
async function empty(targets: readonly [string, Target<unknown>][]): Promise<readonly [string, number]> {
  let count = 0;
  for (const [, target] of targets) {
    const keys = [...(await target.list()).keys()];
    if (keys.length > 0) await target.remove(keys);
    count += keys.length;
  }
  return [targets.map(([name]) => name).join(", "), count];
}

/** Chains and hooks in either backend, and tables of our own. */
async function rules(): Promise<number> {
  let count = removeTables();
  for (const backend of ["nft", "legacy"] as const)
    for (const family of [4, 6] as const) count += await rulesOf(backend, family);
  return count;
}

/** Reading legacy tables would load their modules: only where there are some. */
async function rulesOf(backend: Backend, family: Family): Promise<number> {
  const tables = `/proc/net/${family === 4 ? "ip" : "ip6"}_tables_names`;
  if (backend === "legacy" && !(existsSync(tables) && readFileSync(tables, "utf8").trim())) return 0;
  const iptables = new Iptables({ family, backend, prefix: `${PREFIX}-` });
  try {
    const [, count] = await empty([
      ["hooks", iptables.hooks() as Target<unknown>],
      ["chains", iptables.chains() as Target<unknown>],
    ]);
    return count;
  } catch (error) {
    if (error instanceof IptablesError && error.code === "missing-tool") return 0; // then nobody wrote with it
    throw error;
  } finally {
    await iptables.close();
  }
}

function removeTables(): number {
  const there = nft("list tables");
  const found = [...there.matchAll(OWN_TABLE)];
  for (const [table] of found) nft(`delete ${table}`);
  return found.length;
}

function nft(words: string): string {
  try {
    return execFileSync("nft", words.split(" "), { encoding: "utf8" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return ""; // then nobody wrote with it
    throw error;
  }
}

function removeFiles(runDir: string): number {
  const names = ["cni.sock", "agent.sock", "bgpd.sock", "cni-spool"].map((name) => join(runDir, name));
  const there = names.filter((path) => existsSync(path));
  for (const path of there) rmSync(path, { recursive: true });
  return there.length;
}
