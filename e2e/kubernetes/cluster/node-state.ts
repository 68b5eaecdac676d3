import { existsSync, readdirSync } from "node:fs";
import { must, namespacePath } from "@margay/lab";
import { nodeFolder } from "./runtime.ts";

/** All of a node that Margay might leave something in, as text to be compared. */
export async function nodeState(node: string): Promise<Record<string, string>> {
  const inside = (script: string) =>
    must(["nsenter", `--net=${namespacePath(node)}`, "--", "sh", "-c", script]);
  return {
    routes: await inside(
      "ip -4 route show table all | sort; ip -6 route show table all | grep -v 'ff00\\|fe80' | sort",
    ),
    links: await inside("ip -o link | sed 's/^[0-9]*: //' | sort"),
    addresses: await inside("ip -o addr | sed 's/^[0-9]*: //; s/ *valid_lft.*//' | sort"),
    nexthops: await inside("ip nexthop"),
    policyRouting: await inside("ip -4 rule; ip -6 rule"),
    queues: await inside("tc qdisc | sort"),
    rules: await inside(
      "(iptables-save; ip6tables-save) | grep -v '^#\\|^:\\(INPUT\\|OUTPUT\\|FORWARD\\|PREROUTING\\|POSTROUTING\\) \\|^\\*\\|^COMMIT' || true",
    ),
    sets: await inside("ipset list -n | sort"),
    tables: await inside("nft list tables | grep margay || true"),
    sysctls: await inside(`sysctl -a -r '^net' 2>/dev/null | grep -v '${COUNTERS}' | sort`),
    listening: await inside("ss -Hlntu | awk '{print $1, $5}' | sort"),
    files: files(nodeFolder(node)).join("\n"),
  };
}

/** Kernel's own figures among the sysctls. */
const COUNTERS = "nf_conntrack_count\\|ipfrag_secret\\|fastopen_key\\|random";

const MOUNT_POINTS =
  /^(run|run\/(margay|xtables\.lock)|opt|opt\/cni|opt\/cni\/bin|etc|etc\/cni|etc\/cni\/net\.d)$/;

/** What the kubelet itself makes for hostPath volumes does not count. */
const files = (folder: string): string[] =>
  existsSync(folder)
    ? (readdirSync(folder, { recursive: true }) as string[]).filter((path) => !MOUNT_POINTS.test(path)).sort()
    : [];
