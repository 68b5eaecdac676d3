import { spawnSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";

const PATIENCE_MS = 60_000;
/** Of any user's: Debian has iptables, ipset and nft where only root looks. */
const PATH = `${process.env.PATH}:/usr/sbin:/sbin`;

/**
 * Runs the script `undo` until the script `left` prints nothing. What vanishes while it is being removed makes a command fail that
 * wanted no more than that, and what the kernel lets go of a moment later (a set whose rule was deleted, the interfaces of a
 * namespace) cannot be removed yet: so what is left decides, and no exit status. Throws after a minute, with what is left and what
 * was said last.
 */
export async function undone(undo: string, left: string, patienceMs = PATIENCE_MS): Promise<void> {
  for (const end = performance.now() + patienceMs; ; await sleep(20)) {
    const said = run(undo);
    const rest = run(left);
    if (rest === "") return;
    if (performance.now() > end)
      throw new Error(`still there ${patienceMs} ms after "${undo}":\n${rest}\n${said}`.trim());
  }
}

/** What it prints, in either way. */
function run(script: string): string {
  const { error, stdout, stderr } = spawnSync("sh", ["-c", script], {
    ...{ encoding: "utf8", env: { ...process.env, PATH }, maxBuffer: 2 ** 30 },
  });
  if (error) throw error;
  return `${stdout}${stderr}`.trim();
}

/** No routes of the protocol, of either family, in any table. */
export const noRoutes = (protocol: string): Promise<void> =>
  undone(`ip route flush table all proto ${protocol}`, `ip route show table all proto ${protocol}`);

/** No interfaces whose whole name matches the extended regular expression. /sys would name those of the namespace that mounted it. */
export function noLinks(names: string): Promise<void> {
  const found = `ip -br link | sed 's/[@ ].*//' | grep -Ex '${names}'`;
  return undone(`for i in $(${found}); do ip link del $i; done`, found);
}

/** No namespaces with a name. Their interfaces go when the kernel comes to it: see `noLinks`. */
export const noNamespaces = (): Promise<void> =>
  undone(
    "for n in $(ls /run/netns); do umount /run/netns/$n; rm /run/netns/$n; done",
    "ls /run/netns 2>/dev/null",
  );

/** For each of the legacy tables, by name: which of them are in use only root outside may read. One that the kernel does not have is empty. */
const legacy = (act: string): string =>
  `for c in iptables-legacy ip6tables-legacy; do for t in raw mangle nat filter; do ${act}; done; done 2>/dev/null`;

/** No rules of nftables, nor of iptables in either kind of tables. */
export const noRules = (): Promise<void> =>
  undone(
    `nft flush ruleset; ${legacy("$c -w -t $t -F; $c -w -t $t -X")}`,
    `nft list ruleset; ${legacy("$c -w -t $t -S | grep -v ^-P")}`,
  );

/** No ipsets. A rule that is deleted lets go of its set a moment later. */
export const noSets = (): Promise<void> => undone("ipset flush; ipset destroy", "ipset list -n");
