import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "@jest/globals";
import { install } from "@margay/cni";
import { parseAddress, width } from "@margay/net";
import { addAddress, type InterfaceAddress, Netlink } from "@margay/netlink";
import { unshared } from "@margay/testing";
import { cleanUp } from "./cleanup.ts";
import { rememberSettings } from "./former-settings.ts";

const sh = (command: string): string => execFileSync("sh", ["-c", command], { encoding: "utf8" });

/** All that cleanup might touch, its own or not. Counters, and sets' headers, change by themselves. */
const world = (): string =>
  sh(`ip -o link | sed 's/.*: \\(.*\\): <.*/\\1/' | sort; ip route show table all | sort; ip -6 route show proto 99; ip nexthop; ip -o addr show dev lo
      iptables-nft-save | grep -v '^#' | sed 's/\\[.*\\]//'; ip6tables-nft-save | grep -v '^#' | sed 's/\\[.*\\]//'
      ipset list -n | sort; nft list tables | grep -v ' \\(filter\\|nat\\|raw\\|mangle\\)$' || true
      cat /proc/sys/net/ipv4/ip_forward`);

/** As bgpd marks what local workloads peer with; ip(8) of Debian 12 cannot. */
function bgpd(text: string): InterfaceAddress {
  const address = parseAddress(text);
  return { address, length: width(address.family), nodad: true, protocol: 143 };
}

unshared(import.meta.url, () => {
  test("what is ours goes, in every backend; what looks like it but is others' stays; again: nothing", async () => {
    const runDir = mkdtempSync("/run/cleanup-");
    const [cniBinDir, cniConfDir] = [join(runDir, "bin"), join(runDir, "conf")];
    // Others': Calico's interface of the very name, kube-proxy's rules, a route of another protocol, sets and tables.
    sh(`ip link add cali0123456789a type veth peer name x0 && ip link set x0 addrgenmode none up && ip link set cali0123456789a addrgenmode none up alias 'calico'
        ip route add 10.9.9.9/32 dev cali0123456789a proto 99; ip nexthop add id 7 dev cali0123456789a proto 99
        iptables-nft -N KUBE-FORWARD && iptables-nft -A FORWARD -j KUBE-FORWARD && iptables-nft -t nat -A POSTROUTING -j RETURN
        ip6tables-nft -A FORWARD -j ACCEPT; ip6tables-nft -t raw -L >/dev/null; iptables-nft -t raw -L > /dev/null; iptables-nft -t mangle -L >/dev/null
        ip addr add 192.0.2.9/32 dev lo; ipset create others hash:ip; nft add table inet margay-monitor; echo 0 > /proc/sys/net/ipv4/ip_forward`);
    const before = world();

    rememberSettings(runDir);
    sh(`echo 1 > /proc/sys/net/ipv4/ip_forward`);
    rememberSettings(runDir); // a restarted agent's: what the first one saw counts
    install({ binDir: cniBinDir, confDir: cniConfDir, relay: process.execPath, margay: [] });
    writeFileSync(join(runDir, "cni.sock"), "");
    sh(`ip link add caliaaaaaaaaaaa type veth peer name x1 && ip link set caliaaaaaaaaaaa up alias 'margay:margay c1 eth0'
        ip link set x1 up; ip route add 10.244.0.1/32 dev caliaaaaaaaaaaa proto 142; ip route add blackhole 10.244.0.0/26 proto 142
        ip nexthop add id 2399141888 dev cali0123456789a proto 143; ip nexthop add id 2399141889 group 2399141888 proto 143
        ip route add 10.245.0.0/26 nhid 2399141889 proto 143 metric 1024
        ipset create margay4-pools hash:net && ipset add margay4-pools 10.244.0.0/16
        iptables-nft -N margay-FORWARD && iptables-nft -A margay-FORWARD -m set --match-set margay4-pools src -j ACCEPT
        iptables-nft -I FORWARD -m comment --comment 'margay:hook' -j margay-FORWARD
        iptables-nft -t nat -N margay-POSTROUTING; iptables-nft -t nat -I POSTROUTING -m comment --comment 'margay:hook' -j margay-POSTROUTING
        nft add table ip margay; nft add chain ip margay forward '{ type filter hook forward priority 0; }'; nft add table ip6 margay`);
    expect(world()).not.toBe(before);
    const netlink = Netlink.open();
    for (const text of ["169.254.0.179", "fd12::1"]) await addAddress(netlink, "lo", bgpd(text));

    const options = { netlink, runDir, cniBinDir, cniConfDir };
    const done = await cleanUp(options);
    expect(world()).toBe(before);
    expect([readdirSync(cniBinDir), readdirSync(cniConfDir), existsSync(join(runDir, "cni.sock"))]).toEqual([
      [],
      [],
      false,
    ]);
    expect(done.map((line) => line.replace(/^removed /, ""))).toEqual([
      "CNI files: 3",
      "routes of protocol 142, routes of protocol 143: 3",
      "addresses: 2",
      "interfaces: 1",
      expect.stringMatching(/^rules: \d+$/),
      "sets: 1",
      "settings: 1",
      "files below the run directory: 1",
    ]);
    expect(await cleanUp(options)).toEqual([]);
    netlink.close();
  });
});
