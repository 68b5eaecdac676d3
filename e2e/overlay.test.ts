import { afterEach, expect, test } from "@jest/globals";
import { Flow } from "./testing/flow.ts";
import { endAll, eventually, TestLab } from "./testing/lab.ts";
import { pings } from "./testing/pings.ts";

/** Ways between nodes that are the agents': VXLAN, and plain routes without BGP. */
let lab: TestLab | undefined;
afterEach(async () => {
  await lab?.down();
  await endAll();
});

const delay = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** One pod per node, named for it: t/p1 on n1 and so on. */
async function up(subject: string, nodes: number, flags: readonly string[]): Promise<TestLab> {
  lab = await TestLab.up(subject, ["--nodes", `${nodes}`, ...flags]);
  for (let n = 1; n <= nodes; n++) await lab.must(["pod", "add", `t/p${n}`, "--node", `n${n}`]);
  await lab.margay([
    "wait",
    "--timeout",
    "120",
    ...(flags.includes("--no-bgp") ? ["--daemon", "agent"] : []),
  ]);
  return lab;
}

/** What a command prints at a node; throws when it fails. */
async function at(there: TestLab, node: string, command: string): Promise<string> {
  const { code, stdout, stderr } = await there.exec(node, ["sh", "-c", command]);
  if (code !== 0) throw new Error(`${command}: ${stderr}`);
  return stdout;
}

const pairs = (count: number) =>
  Array.from({ length: count }, (_, i) => i + 1).flatMap((from) =>
    Array.from({ length: count }, (_, i) => i + 1)
      .filter((to) => to !== from)
      .map((to) => `t/p${from}>t/p${to}`),
  );

async function addressOf(there: TestLab, pod: string, family: 4 | 6): Promise<string> {
  const { addresses = [] } = (await there.pods()).find(({ name }) => name === pod) ?? {};
  return addresses.find((address) => address.includes(":") === (family === 6))?.split("/")[0] ?? "";
}

/** Packets lost of so many, a hundred a second. */
async function lost(there: TestLab, [from, to]: [string, string], count: number): Promise<number> {
  const words = ["ping", "-q", "-i", "0.01", "-c", `${count}`, "-W", "1", to];
  const { stdout } = await there.exec(from, words);
  const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(stdout) ?? [];
  expect(Number(sent)).toBe(count);
  return count - Number(received);
}

const TOR = "172.20.0.2";

/** Outer addresses of the tunnel's packets that a node sends while `act` runs. */
async function captured(there: TestLab, node: string, act: () => Promise<unknown>): Promise<string[]> {
  const filter = `udp dst port 4789 or (icmp and dst ${TOR})`;
  const capture = there.spawn(node, ["tcpdump", "-lnni", "eth0", "-Q", "out", filter]);
  let seen = "";
  let told = "";
  capture.stdout?.setEncoding("utf8").on("data", (chunk) => (seen += chunk));
  capture.stderr?.setEncoding("utf8").on("data", (chunk) => (told += chunk));
  await eventually("tcpdump listens", async () => told.includes("listening on"));
  await act();
  await at(there, node, `ping -c 1 -W 5 ${TOR}`);
  await eventually("all that went out before this is told", async () => seen.includes(`> ${TOR}: ICMP echo`));
  capture.kill("SIGTERM");
  const outer = seen.matchAll(/^\S+ IP6? (\S+)\.\d+ > (\S+)\.4789: VXLAN/gm);
  return [...new Set([...outer].map(([, from, to]) => `${from}>${to}`))].sort();
}

test("CrossSubnet: all reach all; only what crosses the subnets is encapsulated", async () => {
  const there = await up("e2e-cross", 3, ["--vxlan", "CrossSubnet"]);
  expect((await there.reached()).sort()).toEqual(pairs(3).sort());
  const talk = (to: string) => async () => {
    for (const family of [4, 6] as const)
      expect(await lost(there, ["t/p1", await addressOf(there, to, family)], 5)).toBe(0);
  };
  expect(await captured(there, "n1", talk("p3"))).toEqual([]);
  expect(await captured(there, "n1", talk("p2"))).toEqual([
    "172.20.0.11>172.20.1.12",
    "fd00:172:20::11>fd00:172:20:1::12",
  ]);
  const routes = await at(there, "n1", "ip route show proto 142");
  expect(routes).toMatch(/via 172.20.0.13 dev eth0/);
  expect(routes).toMatch(/dev vxlan.margay .*onlink/);
});

test("Always: a killed agent costs nothing; packets of full size fit; a node that goes leaves no trace", async () => {
  const there = await up("e2e-vxlan", 3, ["--vxlan", "Always"]);
  expect((await there.reached()).sort()).toEqual(pairs(3).sort());
  const flow = await Flow.open(there, { from: "t/p1", to: "t/p2", port: 7100 });
  await there.must(["kill", "n1/agent"]);
  const aSecondOn = flow.echoed + 50;
  await eventually("the flow goes on while it is away", async () => flow.echoed >= aSecondOn);
  await there.must(["start", "n1/agent"]);
  await delay(2000);
  const { sent, echoed, longestGapMs } = await flow.close();
  expect(echoed).toBe(sent);
  expect(longestGapMs).toBeLessThan(1000);

  const full = [
    "ping",
    "-q",
    "-c",
    "2",
    "-M",
    "do",
    "-s",
    `${1500 - 70 - 28}`,
    await addressOf(there, "p2", 4),
  ];
  expect((await there.exec("t/p1", full)).stdout).toContain("0% packet loss");
  const onUplink = ["ip", "-j", "link", "show", "eth0"];
  expect((await there.exec("t/p1", onUplink)).stdout).toContain('"mtu":1430');

  const traces = async () =>
    (await at(there, "n1", "bridge fdb; ip neigh; ip route; ip -6 route"))
      .split("\n")
      .filter((line) => line.includes("vxlan") && /172\.20\.0\.13|nud|permanent|PERMANENT|via/.test(line));
  const before = await traces();
  await there.must(["pod", "rm", "t/p3"]);
  await there.must(["kill", "n3/agent"]);
  await there.margay(["delete", "node", "n3", "--force"]);
  await eventually("n3's entries are gone", async () => (await traces()).length < before.length);
  await eventually(
    "only n2 is left",
    async () => !(await traces()).some((line) => line.includes("172.20.0.13")),
  );
  expect((await there.reached()).sort()).toEqual(["t/p1>t/p2", "t/p2>t/p1"]);
});

test("from BGP to VXLAN and back, no packet is lost", async () => {
  const there = await up("e2e-switch", 2, []);
  const mode = (vxlanMode: string) =>
    there.margay(
      ["apply", "-f", "-"],
      ["default-ipv4 10.244.0.0/16 26", "default-ipv6 fd00:10:244::/56 122"]
        .map((text) => text.split(" "))
        .map(
          ([name, cidr, size]) =>
            `{ apiVersion: margay.dev/v1, kind: IPPool, metadata: { name: ${name} }, spec: { cidr: "${cidr}", blockSize: ${size}, natOutgoing: true, vxlanMode: ${vxlanMode} } }`,
        )
        .join("\n---\n"),
    );
  const four = pings(there, "t/p1", await addressOf(there, "p2", 4));
  const six = pings(there, "t/p1", await addressOf(there, "p2", 6));
  await delay(1000);
  const encapsulated = captured(there, "n1", async () => {
    await mode("Always");
    await delay(5000);
  });
  expect(await encapsulated).toEqual(["172.20.0.11>172.20.0.12", "fd00:172:20::11>fd00:172:20::12"]);
  await mode("Never");
  await delay(7000);
  const inTunnel = () => captured(there, "n1", () => delay(500));
  await eventually("nothing is encapsulated any more", async () => (await inTunnel()).length === 0);
  for (const { sent, lost } of [await four.end(), await six.end()]) {
    expect(sent).toBeGreaterThan(100);
    expect(lost).toEqual([]);
  }
  expect(await at(there, "n1", "ip -br link")).not.toContain("vxlan");
});

test("without BGP: the agents write plain routes, and all reach all", async () => {
  const there = await up("e2e-static", 3, ["--no-bgp"]);
  expect((await there.reached()).sort()).toEqual(pairs(3).sort());
  const routes = await at(there, "n1", "ip route show proto 142");
  expect(routes).toMatch(/via 172.20.0.12 dev eth0/);
  expect(await at(there, "n1", "ip route show proto 143")).toBe("");
  await at(there, "n1", "ip route flush proto 142");
  await eventually("routes are back", async () => (await there.reached()).length === 6, 30_000);
});
