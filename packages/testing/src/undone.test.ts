import { execFileSync } from "node:child_process";
import { expect, test } from "@jest/globals";
import { noLinks, noNamespaces, noRoutes, noRules, noSets, unshared } from "./index.ts";
import { undone } from "./undone.ts";

const sh = (script: string): string =>
  execFileSync("sh", ["-ec", `PATH=$PATH:/usr/sbin:/sbin; ${script}`], { encoding: "utf8" });

unshared(import.meta.url, () => {
  const links = () => sh("ip -br link | sed 's/[@ ].*//'").trim().split("\n").sort();

  test("interfaces of this namespace, by whole names; the others stay, and so do their routes", async () => {
    sh(`ip link add calia type veth peer name other; ip link add up0 type bridge; ip link add up01 type bridge
        ip link add kept type bridge; ip link set kept up; ip route add 10.9.0.0/24 dev kept proto 99`);
    await noLinks("cali.*|up0");
    expect(links()).toEqual(["kept", "lo", "up01"]);
    expect(sh("ip route show proto 99")).toContain("10.9.0.0/24 dev kept");
    await noLinks("kept|up01");
    await noLinks("kept|up01"); // nothing to do
  });

  test("routes of one protocol, of both families and all tables", async () => {
    sh(`ip route add blackhole 10.1.0.0/16 proto 142; ip -6 route add blackhole fd01::/64 proto 142
        ip route add blackhole 10.2.0.0/16 proto 142 table 78; ip route add blackhole 10.3.0.0/16 proto 143`);
    await noRoutes("142");
    expect(
      sh("ip route show table all | grep blackhole; ip -6 route show table all").match(
        /^.*1[34][0-9a-z].*$/gm,
      ),
    ).toEqual([expect.stringMatching(/^blackhole 10.3.0.0\/16 proto 143/)]);
    await noRoutes("143");
  });

  test("the namespaces of many pods and what of them stands here: nothing is left that could go later", async () => {
    for (let round = 0; round < 3; round++) {
      sh(`mkdir -p /run/netns; for i in $(seq 30); do
          ip netns add pod$i; ip link add cali$i type veth peer name eth0 netns pod$i; ip link set cali$i up
          ip -n pod$i link set eth0 up; ip -6 route add fd00::$i dev cali$i proto 142; ip route add 10.0.0.$i dev cali$i proto 142
        done`);
      await noNamespaces();
      await noLinks("cali.*");
      await noRoutes("142");
      expect(links()).toEqual(["lo"]);
      expect(sh("ls /run/netns")).toBe("");
    }
  });

  test.each(["nft", "legacy"])(
    "iptables-%s: rules, chains that call each other, and the sets that they ask for",
    async (kind) => {
      for (let round = 0; round < 10; round++) {
        sh(`ipset create all list:set; for i in $(seq 20); do ipset create s$i hash:ip; ipset add all s$i; done
          for t in filter raw mangle; do iptables-${kind} -t $t -N a; iptables-${kind} -t $t -N b; iptables-${kind} -t $t -A a -j b
            for i in $(seq 20); do iptables-${kind} -t $t -A b -m set --match-set s$i src -j RETURN; done
            iptables-${kind} -t $t -A OUTPUT -j a
          done; ip6tables-${kind} -N c; nft add table inet t`);
        await noRules();
        await noSets();
        expect(
          sh(`nft list ruleset; ipset list -n; iptables-${kind}-save | grep -E '^:[^ ]* -|^-A' || true`),
        ).toBe("");
      }
    },
  );

  test("what does not go is told, with what was said", async () => {
    await expect(undone("echo busy; false", "echo a route", 30)).rejects.toThrow(
      /^still there 30 ms after "echo busy; false":\na route\nbusy$/,
    );
  });
});
