import { describe, expect, test } from "@jest/globals";
import { LabError } from "./errors.ts";
import { must } from "./exec.ts";
import { type Cell, formatMatrix, isWrong } from "./matrix.ts";
import { parseLabels, podId } from "./pod-commands.ts";
import { after, pods } from "./scenario.ts";
import { topology } from "./topology.ts";
import { birdConfiguration, birdSessions } from "./tor.ts";

const specOf = (layout: Parameters<typeof topology>[0], name: string) =>
  topology(layout).resources.find(({ metadata }) => metadata.name === name)?.spec;

describe("topology", () => {
  test("a mesh: nodes in order, one peer, the pools of the contract", () => {
    const { nodes, resources } = topology({ nodes: 2, routeReflectors: 0 });
    expect(nodes).toEqual([
      { name: "n1", ipv4: "172.20.0.11/24", ipv6: "fd00:172:20::11/64", reflector: false },
      { name: "n2", ipv4: "172.20.0.12/24", ipv6: "fd00:172:20::12/64", reflector: false },
    ]);
    expect(resources.map(({ kind, metadata }) => `${kind} ${metadata.name}`)).toEqual([
      "IPPool default-ipv4",
      "IPPool default-ipv6",
      "BGPConfiguration default",
      "BGPPeer tor",
      "Node n1",
      "Node n2",
    ]);
    expect(specOf({ nodes: 1, routeReflectors: 0 }, "default")).toMatchObject({
      nodeToNodeMeshEnabled: true,
      asNumber: 64512,
    });
    expect(specOf({ nodes: 1, routeReflectors: 0 }, "default-ipv6")).toMatchObject({
      cidr: "fd00:10:244::/56",
      blockSize: 122,
    });
  });

  test("reflectors: the mesh is off, the first nodes share a cluster id, every node peers with them", () => {
    const layout = { nodes: 4, routeReflectors: 2 };
    expect(topology(layout).nodes.map(({ reflector }) => reflector)).toEqual([true, true, false, false]);
    expect(specOf(layout, "default")).toMatchObject({ nodeToNodeMeshEnabled: false });
    expect(specOf(layout, "n2")).toMatchObject({ bgp: { routeReflectorClusterID: "244.0.0.1" } });
    expect(specOf(layout, "n3")).toMatchObject({ bgp: { ipv4Address: "172.20.0.13/24" } });
    expect(specOf(layout, "reflectors")).toMatchObject({
      nodeSelector: "all()",
      peerSelector: "has(lab.margay.dev/route-reflector)",
    });
  });

  test("several subnets: nodes in turn, each with its foot of the ToR; both pools encapsulated; no BGP, other routes", () => {
    const layout = { nodes: 3, routeReflectors: 0, subnets: 2, vxlan: "CrossSubnet", bgp: false } as const;
    expect(topology(layout).nodes.map(({ ipv4, ipv6, subnet }) => [ipv4, ipv6, subnet])).toEqual([
      ["172.20.0.11/24", "fd00:172:20::11/64", 0],
      ["172.20.1.12/24", "fd00:172:20:1::12/64", 1],
      ["172.20.0.13/24", "fd00:172:20::13/64", 0],
    ]);
    expect(specOf(layout, "tor-1")).toMatchObject({
      peerIP: "172.20.1.2",
      nodeSelector: 'lab.margay.dev/subnet == "1"',
    });
    expect(birdConfiguration(topology(layout).nodes)).toContain(
      "protocol bgp n2 from node { local 172.20.1.2 as 65000; ipv6 { next hop address fd00:172:20:1::2; }; neighbor 172.20.1.12; }",
    );
    const kinds = topology(layout).resources.map(({ kind, spec }) => [kind, JSON.stringify(spec)].join(" "));
    expect(kinds.filter((text) => text.includes('"vxlanMode":"CrossSubnet"'))).toHaveLength(2);
    expect(kinds.filter((text) => text.includes('"programClusterRoutes":"Enabled"'))).toHaveLength(1);
  });

  test("the IPv4 pool can be another, for tests of exhaustion", () => {
    const layout = { nodes: 1, routeReflectors: 0, pool: { cidr: "10.9.0.0/29", blockSize: 30 } };
    expect(specOf(layout, "default-ipv4")).toMatchObject({
      cidr: "10.9.0.0/29",
      blockSize: 30,
      natOutgoing: true,
    });
  });

  test.each<[string, number, number, string]>([
    ["no node", 0, 0, "nodes: 1 to 244, not 0"],
    ["more than the fabric's /24 holds", 245, 0, "nodes: 1 to 244, not 245"],
    ["more reflectors than nodes", 2, 3, "route reflectors: 0 to 2 (the nodes there are), not 3"],
  ])("%s is refused", (_why, nodes, routeReflectors, message) => {
    expect(() => topology({ nodes, routeReflectors })).toThrow(new LabError("invalid", message));
  });
});

describe("BIRD", () => {
  test("one session per node, both families over its IPv4 address, only the outside announced", () => {
    const text = birdConfiguration(topology({ nodes: 2, routeReflectors: 0 }).nodes);
    expect(text).toContain("local 172.20.0.2 as 65000;");
    expect(text).toContain(
      "protocol bgp n1 from node { neighbor 172.20.0.11; }\nprotocol bgp n2 from node { neighbor 172.20.0.12; }",
    );
    expect(text).toContain("export where net ~ [ 198.51.100.1/32 ]");
    expect(text).toContain("next hop address fd00:172:20::2;");
  });

  test("sessions are read from `show protocols all`, both channels added up; other protocols are none", () => {
    const text = `BIRD 2.0.12 ready.
Name       Proto      Table      State  Since         Info
kernel4    Kernel     master4    up     18:23:46.387
n1         BGP        ---        up     18:23:46.387  Established
  BGP state:          Established
  Channel ipv4
    Routes:         2 imported, 1 exported, 2 preferred
  Channel ipv6
    Routes:         1 imported, 0 filtered, 1 exported, 1 preferred
n2         BGP        ---        start  18:23:46.387  Active
  BGP state:          Active
`;
    expect(birdSessions(text)).toEqual([
      { name: "n1", state: "Established", imported: 3, exported: 2 },
      { name: "n2", state: "Active", imported: 0, exported: 0 },
    ]);
  });
});

describe("the demo's story", () => {
  test("pods go over the nodes in turn; more than six are web pods", () => {
    const made = pods(["n1", "n2"], 8);
    expect(made.map(({ name, node }) => `${name}@${node}`)).toEqual([
      "web-1@n1",
      "web-2@n2",
      "api-1@n1",
      "api-2@n2",
      "db@n1",
      "monitor@n2",
      "web-3@n1",
      "web-4@n2",
    ]);
    expect(pods(["n1"], 2)).toHaveLength(2);
  });

  test.each<[string, string, string, boolean]>([
    ["api is named in the policy", "shop/api-1", "shop/db", true],
    ["web is not", "shop/web-1", "shop/db", false],
    ["ops is, by its namespace", "ops/monitor", "shop/db", true],
    ["only the database is policed", "shop/web-1", "shop/api-1", true],
    ["and only what comes in", "shop/db", "shop/web-1", true],
  ])("%s", (_why, from, to, expected) => expect(after(from, to)).toBe(expected));
});

describe("matrix", () => {
  const cell = (answers: Cell["answers"][number]["answer"][], expected?: boolean): Cell => ({
    from: "a",
    to: "b",
    answers: answers.map((answer, index) => ({ family: index === 0 ? 4 : 6, answer })),
    ...(expected !== undefined && { expected }),
  });

  test.each<[string, Cell, boolean]>([
    ["all reached as expected", cell(["reached", "reached"], true), false],
    ["one family missing", cell(["reached", "timeout"], true), true],
    ["refused is not reached", cell(["refused", "refused"], false), false],
    ["one family gets through a policy", cell(["timeout", "reached"], false), true],
    ["no opinion", cell(["timeout", "reached"]), false],
    ["another pod answers: wrong in any case", cell(["wrong pod"]), true],
  ])("%s", (_why, one, wrong) => expect(isWrong(one)).toBe(wrong));

  test("a wrong cell says what it should be", () => {
    const cells = [
      cell(["reached", "timeout"], true),
      { ...cell(["timeout", "timeout"], false), from: "b", to: "a" },
    ];
    const text = formatMatrix({ protocol: "tcp", port: 80, names: ["a", "b"], cells, wrong: 1 });
    expect(text).toContain("│ a      │ ·  │ IPv4 only (should be yes) │");
    expect(text).toContain("│ b      │ no │             ·             │");
  });
});

describe("words of the command line", () => {
  test("labels: set, empty, remove, list or several words", () => {
    expect(parseLabels("app=web,tier=")).toEqual({ app: "web", tier: "" });
    expect(parseLabels(["a/b=c=d", "old-"])).toEqual({ "a/b": "c=d", old: null });
    expect(() => parseLabels("nonsense")).toThrow('"nonsense" is no label: key=value, or key- to remove it');
  });

  test("a pod by name, or by namespace and name", () => {
    expect(podId("web")).toEqual({ namespace: "default", name: "web" });
    expect(() => podId("a/b/c")).toThrow('"a/b/c" is no pod: NAME or NAMESPACE/NAME');
    expect(podId("shop/web", "other")).toEqual({ namespace: "shop", name: "web" });
  });
});

test("a program that does not end is ended, and that is what is said of it", async () => {
  await expect(must(["sleep", "1000"], { timeoutMs: 50 })).rejects.toMatchObject({
    code: "command-failed",
    message: "sleep 1000: not done within 0.05 s, ended by SIGKILL",
  });
});
