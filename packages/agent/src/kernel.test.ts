import { execFileSync } from "node:child_process";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import type { NodeState } from "@margay/calc";
import { noSets, unshared, until } from "@margay/testing";
import { Kernel } from "./kernel.ts";
import { address, type Pod, resource, stateWith } from "./render/testing/pods.ts";
import { BACKENDS } from "./rulesets/testing/backends.ts";

const sh = (command: string): string =>
  execFileSync("sh", ["-c", command], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
const raise = (error: Error): never => {
  throw error;
};

/** The endpoint of a pod, with the address of another. */
const withAddressOf = (pod: Pod, whose: Pod) =>
  resource("WorkloadEndpoint", pod, {
    ...{ orchestrator: "k8s", node: "n1", pod, endpoint: "eth0", profiles: ["kns.x"] },
    ...{ interfaceName: `cali${pod}`, ipNetworks: [`${address(whose, 4)}/32`, `${address(whose, 6)}/128`] },
  });

/** A state in which the first rule of a policy asks for more sets than the kernel takes in one rule; the API takes no such policy. */
function withTooMuchIn(id: string, state: NodeState): NodeState {
  const notNamedPorts = Array.from({ length: 60 }, (_, n) => `p:${n}`);
  const policies = [...state.policies].map(([key, one]) => {
    const [first, ...others] = one.ingress;
    if (one.id !== id || !first) return [key, one] as const;
    const asking = { ...first, protocol: 6, destination: { ...first.destination, notNamedPorts } };
    return [key, { ...one, ingress: [asking, ...others] }] as const;
  });
  return { ...state, policies: new Map(policies) };
}

const kernelOf = () =>
  new Kernel({
    ...{
      onChange: () => undefined,
      onLink: () => undefined,
      onAddress: () => undefined,
      onRoute: () => undefined,
    },
    ...{
      onLost: () => undefined,
      onRepaired: () => undefined,
      onChosen: () => undefined,
      onLookFailed: () => undefined,
      onError: raise,
      onRemembered: raise,
    },
  });

unshared(import.meta.url, () => {
  let kernel: Kernel;
  beforeEach(() => {
    kernel = kernelOf();
  });
  afterEach(() => kernel.close());

  test.each(["nftables", "iptables-nft", "iptables-legacy"] as const)(
    "%s: a rule that is refused closes its policy, and all others are enforced",
    async (backend) => {
      const log = resource("NetworkPolicy", "log", {
        ...{ selector: "app == 'a'", ingress: [{ action: "Log" }, { action: "Allow" }] },
      });
      const plain = resource("NetworkPolicy", "plain", {
        selector: "app == 'b'",
        egress: [{ action: "Deny" }],
      });
      const state = stateWith([resource("FelixConfiguration", "default", BACKENDS[backend]), log, plain]);
      const bad = withTooMuchIn("np/x/log", state);
      await kernel.apply(bad);
      const enforced = kernel.enforced(bad);
      expect(enforced.problems).toEqual([
        { subject: "np/x/log", why: expect.stringContaining("the packet filter refused a rule: ") },
      ]);
      const there = [...(await kernel.counters()).keys()].filter((id) => id.startsWith("np/"));
      expect(there.sort()).toEqual(["np/x/log/in/0", "np/x/plain/out/0"]);
      expect(await kernel.apply(bad)).toEqual([]);
      kernel.distrust("rules"); // then it is tried again
      await kernel.apply(state);
      expect(kernel.enforced(state)).toBe(state);
      expect([...(await kernel.counters()).keys()]).toContain("np/x/log/in/1");
    },
  );

  test.each(["nftables", "iptables-nft", "iptables-legacy"] as const)(
    "%s: where a rule of a chain that is nobody's is refused, what brought it is found, and all else enforced",
    async (backend) => {
      const settings = resource("FelixConfiguration", "default", BACKENDS[backend]);
      const plain = resource("NetworkPolicy", "plain", {
        selector: "app == 'b'",
        egress: [{ action: "Deny" }],
      });
      const state = stateWith([settings, plain]);
      for (const field of ["iptablesFilterDenyAction", "defaultEndpointToHostAction"] as const) {
        const bad = { ...state, config: { ...state.config, [field]: "Nonesuch" as never } };
        await kernel.apply(bad);
        expect(kernel.enforced(bad).problems).toEqual([
          {
            subject: `FelixConfiguration.${field}`,
            why: expect.stringMatching(/^Drop is in force instead: .*Nonesuch|NONESUCH/i),
          },
        ]);
        expect([...(await kernel.counters()).keys()]).toContain("np/x/plain/out/0");
      }
      await kernel.apply(state);
      expect(kernel.enforced(state)).toBe(state);
    },
  );

  const hostEndpoint = resource("HostEndpoint", "h", { node: "n1", interfaceName: "eth0" });
  const settings = (config: object) => (state: NodeState) => ({
    ...state,
    config: { ...state.config, ...config },
  });
  test.each<
    [why: string, of: ReturnType<typeof resource>, bad: (state: NodeState) => NodeState, subject: string]
  >([
    [
      "masquerading on an interface that no filter takes",
      resource("IPPool", "p", { cidr: "10.244.0.0/16", natOutgoing: true }),
      settings({ natOutgoingInterfaceFilter: "an-interface-name-too-long" }),
      "natOutgoing",
    ],
    [
      "source ports that there are not",
      resource("IPPool", "p", { cidr: "10.244.0.0/16", natOutgoing: true }),
      settings({ natPortRange: "70000:70001" }),
      "FelixConfiguration.natPortRange",
    ],
    [
      "a failsafe port that there is not, and another",
      hostEndpoint,
      settings({
        failsafeInboundHostPorts: [70_000, 22].map((port) => ({ protocol: "TCP", port })),
      }),
      "failsafe/in/tcp/70000",
    ],
  ])("what iptables refuses of the settings is left out alone: %s", async (_why, of, bad, subject) => {
    for (const backend of ["iptables-nft", "iptables-legacy"] as const) {
      const settings = resource("FelixConfiguration", "default", BACKENDS[backend]);
      const plain = resource("NetworkPolicy", "plain", {
        selector: "app == 'b'",
        egress: [{ action: "Deny" }],
      });
      const state = stateWith([settings, of, plain]);
      const asked = bad(state);
      await kernel.apply(asked);
      const why = expect.stringMatching(/.: IptablesError: .*rejected/);
      expect(kernel.enforced(asked).problems).toEqual([{ subject, why }]);
      const there = [...(await kernel.counters()).keys()];
      expect(there).toContain("np/x/plain/out/0");
      expect(there.includes("failsafe/in/tcp/22")).toBe(of === hostEndpoint);
      const others = { ...asked, endpoints: [...asked.endpoints] };
      expect(kernel.enforced(others).config).toBe(kernel.enforced(asked).config);
      await kernel.apply(state);
      expect(kernel.enforced(state)).toBe(state);
    }
  });

  test.each(["nftables", "iptables-nft", "iptables-legacy"] as const)(
    "%s: whatever interface a host endpoint of a former version names, everything is enforced",
    async (backend) => {
      const settings = resource("FelixConfiguration", "default", BACKENDS[backend]);
      const state = stateWith([settings, hostEndpoint]);
      const names = ["é".repeat(15), "é".repeat(7), "😀", 'a"b', "+", "eth+", "a'b", "a\\b", "!", "-x", "#"];
      const hostEndpoints = state.hostEndpoints.flatMap((one) =>
        names.map((interfaceName) => ({ ...one, interfaceName })),
      );
      const former = { ...state, hostEndpoints };
      await kernel.apply(former);
      expect(kernel.enforced(former)).toBe(former);
    },
  );

  test("a route that is refused is missing until it is written, also while a pass is under way", async () => {
    const settings = { ...BACKENDS.nftables, deviceRouteSourceAddress: "192.0.2.7" }; // which is not the node's
    const state = stateWith([resource("FelixConfiguration", "default", settings)]);
    const [a] = state.endpoints;
    for (const { interfaceName } of state.endpoints)
      sh(`ip link add ${interfaceName} type bridge && ip link set ${interfaceName} up`);
    const missing = () => a && kernel.missing(a, state.config);
    await until(async () => {
      await kernel.apply({ ...state }); // the first may hear of the interfaces only now
      return missing()?.includes("EINVAL");
    });
    const pass = kernel.apply({ ...state });
    expect(missing()).toMatch(/EINVAL/);
    await pass;
    expect(missing()).toMatch(/EINVAL/);
    for (const { interfaceName } of state.endpoints) sh(`ip link del ${interfaceName}`);
  });

  test.each(["nftables", "iptables-nft"] as const)(
    "%s: policies of which no rules can be made are closed, and all others are enforced",
    async (backend) => {
      const policies = ["a", "b", "c"].map((name) =>
        resource("NetworkPolicy", name, { selector: "app == 'a'", ingress: [{ action: "Allow" }] }),
      );
      const sound = stateWith([resource("FelixConfiguration", "default", BACKENDS[backend]), ...policies]);
      // as a fault of ours would leave them
      const isBroken = (id: string) => ["np/x/a", "np/x/c"].includes(id);
      const state: NodeState = {
        ...sound,
        policies: new Map(
          [...sound.policies].map(([key, one]) => [
            key,
            isBroken(one.id)
              ? { ...one, ingress: one.ingress.map((rule) => ({ ...rule, source: undefined as never })) }
              : one,
          ]),
        ),
      };
      await kernel.apply(state);
      const why = expect.stringMatching(/^its rules cannot be made: TypeError/);
      expect(kernel.enforced(state).problems).toEqual(
        ["np/x/a", "np/x/c"].map((subject) => ({ subject, why })),
      );
      const ids = [...(await kernel.counters()).keys()];
      expect(ids).toContain("np/x/b/in/0");
      expect(ids.filter((id) => id.startsWith("np/x/a"))).toHaveLength(1);
      await kernel.apply(sound);
      expect(kernel.enforced(sound)).toBe(sound);
    },
  );

  test.each(["nft", "legacy"] as const)(
    "iptables-%s: rules that ask for a set which somebody removed are refused, and none of it is the policy's fault",
    async (backend) => {
      const settings = resource("FelixConfiguration", "default", BACKENDS[`iptables-${backend}`]);
      const stateOf = (action: string) =>
        stateWith([
          settings,
          resource("NetworkPolicy", "p", {
            ...{ selector: "app == 'a'", ingress: [{ action, source: { selector: "app == 'b'" } }] },
          }),
        ]);
      await kernel.apply(stateOf("Allow"));
      for (const tool of ["iptables", "ip6tables"])
        for (const table of ["raw", "mangle", "nat", "filter"])
          sh(`${tool}-${backend} -t ${table} -F; ${tool}-${backend} -t ${table} -X`);
      await noSets();
      const state = stateOf("Deny");
      await kernel.apply(state);
      expect(kernel.enforced(state)).toBe(state);
      expect([...(await kernel.counters()).keys()]).toContain("np/x/p/in/0");
    },
  );

  test.each([4, 6] as const)(
    "addresses that change hands in one pass lose their connections (IPv%s)",
    async (family) => {
      const pods = ["a", "b", "c"] as const;
      const far = family === 4 ? "192.0.2.9" : "fd00:9::9";
      await kernel.apply(stateWith([]));
      for (const pod of pods)
        sh(`conntrack -I -p udp -s ${address(pod, family)} -d ${far} --sport 1000 --dport 80 -t 600`);
      await kernel.apply(stateWith([withAddressOf("a", "b"), withAddressOf("b", "a")]));
      const known = sh(`conntrack -L -f ipv${family}`);
      expect(pods.filter((pod) => known.includes(`src=${address(pod, family)} `))).toEqual(["c"]);
    },
  );
});
