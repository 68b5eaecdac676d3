import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "@jest/globals";
import fc from "fast-check";

/** Needs no root: the child is root in a user namespace of its own, and all it makes vanishes with it. */
const inNamespace = (...command: string[]): string =>
  execFileSync(
    "unshare",
    ["-Urnm", "--kill-child", process.execPath, "--conditions=margay-source", "--no-warnings", ...command],
    { encoding: "utf8", timeout: 880_000 },
  );

test.each(["nft", "legacy", "nftables"])(
  "real packets between real pods meet the verdicts that were evaluated: %s",
  (backend) => {
    const file = fileURLToPath(new URL("testing/kernel.ts", import.meta.url));
    const seed = fc.readConfigureGlobal().seed;
    const { disagreements, seen, spoofed, toHost, unpoliced, reversePath, logged, staged } = JSON.parse(
      inNamespace(file, backend, String(seed)),
    );
    expect({ seed, disagreements }).toEqual({ seed, disagreements: [] });
    // 6 scenarios and 6 random ones of 72 flows each.
    expect(seen.allow + seen.deny).toBe(864);
    expect(Math.min(seen.allow, seen.deny)).toBeGreaterThan(80);
    const own = ["10.244.0.3", "fd00::3"];
    const withPrefixes = [...own, "203.0.113.5", "2001:db8::5"];
    expect(spoofed).toEqual({
      ...{ own, switchedOff: own },
      ...{ prefixes: withPrefixes, prefixesStrict: withPrefixes },
      ...{ wrongMac: [], wrongMacPrefixes: [] },
    });
    // An accept is final in its own table only: the node's drop is one of iptables-nft.
    const accept = ["allow", backend === "nft" ? "allow" : "deny"];
    expect(toHost).toEqual({ Accept: accept, Return: ["allow", "deny"], Drop: ["deny", "deny"] });
    expect(unpoliced).toEqual({ toItself: "allow", fromNode: "allow", toOther: "deny" });
    expect(logged).toEqual({ unlimited: 10, limited: 3 });
    expect(staged).toEqual({ allowed: 10, counted: 10, countedBehindADecision: 0 });
    expect(reversePath).toEqual({ Strict: ["elsewhere", "nowhere"], Loose: ["nowhere"], Disabled: [] });
  },
);

test.each(["nft", "legacy", "nftables"])(
  "host endpoints, with real packets to, from and through a node: %s",
  (backend) => {
    const file = fileURLToPath(new URL("testing/host-kernel.ts", import.meta.url));
    const through = ["behind:80", "behind:81"];
    const out = ["out:80", "out:6443"];
    const vxlan = "far:81/udp";
    const udpThrough = "behind:80/udp";
    const udpFailsafes = ["far:68/udp", udpThrough, "out:53/udp"];
    const udp = ["far:68/udp", "far:8080/udp", udpThrough, "out:53/udp", "out:80/udp"];
    const six = ["far6:22", "far6:81", "far6:80/udp", "out6:81", "far6:8080", "out6:6443"];
    const everything = [
      "far:22",
      "far:80",
      "far:81",
      "far:8080",
      ...through,
      ...out,
      vxlan,
      "far:80/udp",
      ...udp,
      ...six,
    ];
    const but = (...gone: string[]) => everything.filter((name) => !gone.includes(name));
    const failsafes = ["far:22", ...through, "out:6443", ...udpFailsafes, "far6:22", "out6:6443"];
    const byPort = [
      ...["far:22", "far:80", "far:8080", ...through, "out:6443", ...udpFailsafes],
      ...["far6:22", "far6:8080", "out6:6443"],
    ];
    const { found, looped } = JSON.parse(inNamespace(file, backend)) as {
      found: Record<string, { reached: string[]; tracked: boolean }>;
      looped: Record<string, number>;
    };
    // A packet to a service that nobody has goes round until its TTL is over, or not at all.
    expect(looped).toEqual({ Disabled: expect.any(Number), Drop: 0, Reject: 0 });
    expect(looped.Disabled).toBeGreaterThan(20);
    const reached = Object.fromEntries(Object.entries(found).map(([name, one]) => [name, one.reached]));
    // Whether connection tracking saw the flow to port 81 of the node.
    expect([found["not tracked"]?.tracked, found["no host endpoint"]?.tracked]).toEqual([false, true]);
    expect(reached).toEqual({
      "no host endpoint": everything,
      "no policy: failsafe ports alone": failsafes,
      "no policy: failsafe ports alone, found by an address": failsafes,
      "no policy, default allow": everything,
      // Egress is left to profiles, of which there are none.
      "ingress by port": byPort,
      "ingress by protocol and family": [
        ...["far:22", ...through, "out:6443", "far:80/udp", "far:68/udp", "far:8080/udp"],
        ...[udpThrough, "out:53/udp", "far6:22", "far6:81", "far6:80/udp", "out6:6443"],
      ],
      "on forward": but("far:80", "far:8080", "behind:80", "far6:8080"),
      "not tracked": [
        ...["far:22", "far:81", ...through, "out:6443", ...udpFailsafes],
        ...["far6:22", "far6:81", "out6:6443"],
      ],
      "not tracked, and no rule for answers": failsafes,
      "not tracked, UDP": everything.filter((name) => name === vxlan || failsafes.includes(name)),
      "not tracked, UDP, and no rule for answers": failsafes,
      // A failsafe port is none of its business; what is translated later is still for its own port.
      "not tracked, UDP denied": but("far:80/udp", udpThrough, "far6:80/udp"),
      "no failsafe ports": [...through, udpThrough],
      "before destination NAT": but("far:8080", "far6:8080"),
      "before destination NAT, UDP": but("far:8080/udp"),
      // Answers to the node's own packets are not asked.
      "before destination NAT, all denied": [
        ...["far:22", ...out, "far:68/udp", "out:53/udp", "out:80/udp"],
        ...["far6:22", "out6:81", "out6:6443"],
      ],
      // REJECT is of the filter table alone.
      "before destination NAT, where a refusal is an answer": but(
        ...["far:8080", "far6:8080", "far:81", "far6:81", "behind:81"],
      ),
      // Pods have none: the node is closed as in IPv4.
      "ingress by port, where pods have no IPv6": byPort,
      "VXLAN of another node": everything,
      "VXLAN of nobody": but(vxlan),
    });
  },
);
