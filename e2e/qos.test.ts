import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { eventually, TestLab } from "./testing/lab.ts";

/** Limits of pods' traffic, measured with real traffic. Pods: t/free on n1 and t/other on n2; t/slow on n2, 20 Mbit/s in, 10 Mbit/s out. */
let lab: TestLab;
const Q = "qos.projectcalico.org/";
beforeAll(async () => {
  lab = await TestLab.up("e2e-qos", ["--nodes", "2"]);
  await lab.must(["pod", "add", "t/free", "--node", "n1"]);
  await lab.must(["pod", "add", "t/other", "--node", "n2"]);
  const limits = { ingressBandwidth: "20M", ingressBurst: "1M", egressBandwidth: "10M", egressBurst: "1M" };
  await addLimited("t/slow", limits);
  await lab.wait();
  await eventually("the limits are set", async () => (await queues()).length === 2);
});
afterAll(() => lab?.down());

function addLimited(name: string, limits: object): Promise<string> {
  const words = Object.entries(limits).flatMap(([key, value]) => ["--annotation", `${Q}${key}=${value}`]);
  return lab.must(["pod", "add", name, "--node", "n2", ...words]);
}

/** Interfaces of n2 whose queue is ours. */
async function queues(): Promise<string[]> {
  const { stdout } = await lab.exec("n2", ["tc", "qdisc", "show"]);
  return [...stdout.matchAll(/^qdisc tbf 4d: dev (\S+) root/gm)].map(([, dev]) => dev ?? "").sort();
}

/** Megabits a second that `from` sends to `to` in 4 s, by the receiver's count. */
async function throughput(from: string, to: string): Promise<number> {
  const [namespace, name] = to.split("/");
  const pod = (await lab.pods()).find((one) => one.namespace === namespace && one.name === name);
  const server = lab.spawn(to, ["iperf3", "-s", "-1"]);
  await eventually(
    "iperf3 listens",
    async () => (await lab.exec(to, ["ss", "-Hltn", "sport = :5201"])).stdout !== "",
  );
  const address = pod?.addresses[0]?.split("/")[0] ?? "";
  const { stdout } = await lab.exec(from, ["iperf3", "-J", "-t", "4", "-c", address]);
  server.kill();
  const { end } = JSON.parse(stdout) as { end: { sum_received: { bits_per_second: number } } };
  return end.sum_received.bits_per_second / 1e6;
}

/** Never more than the limit and a tenth; less by a tenth at most in one of five: who gets no processor sends nothing meanwhile. */
async function expectLimit(limit: number, from: string, to: string): Promise<void> {
  const found: number[] = [];
  while (found.length < 5 && !found.some((one) => one > 0.9))
    found.push((await throughput(from, to)) / limit);
  expect(Math.max(...found)).toBeGreaterThan(0.9);
  expect(Math.max(...found)).toBeLessThan(1.1);
}

test("what a pod receives and sends is limited to within a tenth, and nobody else is", async () => {
  await expectLimit(20, "t/free", "t/slow");
  await expectLimit(10, "t/slow", "t/free");
  expect(await throughput("t/free", "t/other")).toBeGreaterThan(200);
});

test("a burst passes at its peak rate: above the bandwidth, and below what the interface could", async () => {
  await addLimited("t/burst", { ingressBandwidth: "1M", ingressBurst: "320M", ingressPeakrate: "40M" });
  await eventually("its limit is set", async () => (await queues()).length === 3);
  const megabits = await throughput("t/free", "t/burst"); // in 4 s half of the burst
  expect(megabits / 40).toBeLessThan(1.1);
  expect(megabits / 40).toBeGreaterThan(0.6); // who gets no processor sends nothing meanwhile, and the burst is too short to ask again
  await lab.must(["pod", "rm", "t/burst"]);
  await eventually("its limit has gone with it", async () => (await queues()).length === 2);
});

test("packets a second, of long connections too, either way, and nobody else's", async () => {
  for (const [pod, way] of [
    ["t/few", "ingress"],
    ["t/sparing", "egress"],
  ] as const) {
    const limits = [`${way}PacketRate=100`, `${way}PacketBurst=10`];
    const words = limits.flatMap((text) => ["--annotation", `${Q}${text}`]);
    await lab.must(["pod", "add", pod, "--node", "n1", ...words]);
  }
  const pods = await lab.pods();
  const flood = (from: string, to: string) => {
    const address = pods.find(({ name }) => name === to)?.addresses[0]?.split("/")[0] ?? "no such pod";
    return lab.exec(from, ["ping", "-q", "-i", "0.002", "-c", "1500", "-W", "1", address]); // one flow, for 3 s at least
  };
  const all = [flood("t/free", "few"), flood("t/sparing", "free"), flood("t/free", "other")];
  const [few = "", sparing = "", other] = (await Promise.all(all)).map(({ stdout }) => stdout);
  for (const stdout of [few, sparing]) {
    const [, received = 0, ms = 0] = /(\d+) received.*time (\d+)ms/.exec(stdout)?.map(Number) ?? [];
    const allowed = 10 + (100 * ms) / 1000;
    expect(ms).toBeGreaterThanOrEqual(3000);
    expect(received / allowed).toBeLessThan(1.15);
    expect(received / allowed).toBeGreaterThan(0.6); // a machine that stalls sends nothing meanwhile
  }
  expect(other).toContain(" 0% packet loss");
});

/** Executes the upstream plugin `bandwidth` on n2, 8 Mbit/s both ways, as if it came after ours in the list. */
async function bandwidth(command: string, pod: string, host: string) {
  const netns = `/run/netns/${pod.replace("/", ".")}`;
  const rates = { ingressRate: 8e6, ingressBurst: 8e5, egressRate: 8e6, egressBurst: 8e5 };
  const conf = {
    ...{ cniVersion: "1.0.0", name: "margay", type: "bandwidth", runtimeConfig: { bandwidth: rates } },
    prevResult: {
      cniVersion: "1.0.0",
      interfaces: [{ name: host }, { name: "eth0", sandbox: netns }],
      ips: [],
    },
  };
  const env = [`CNI_COMMAND=${command}`, "CNI_CONTAINERID=c", `CNI_NETNS=${netns}`, "CNI_IFNAME=eth0"];
  const words = ["env", ...env, "CNI_PATH=/usr/lib/cni", "/usr/lib/cni/bandwidth"];
  return lab.exec("n2", words, JSON.stringify(conf));
}
const HOST = { slow: "caliec780ed8772", other: "cali675b669a9b5" }; // cali and sha1 of t.slow, t.other

test("the plugin bandwidth after ours: one limit or the other, never two", async () => {
  const before = await queues();
  const { code, stdout } = await bandwidth("ADD", "t/slow", HOST.slow);
  expect([code, JSON.parse(stdout)]).toEqual([1, { code: 999, msg: "create qdisc: file exists" }]);
  expect((await bandwidth("DEL", "t/slow", HOST.slow)).code).toBe(0);
  expect(await queues()).toEqual(before);
  expect((await bandwidth("ADD", "t/other", HOST.other)).code).toBe(0);
  expect(await theirs()).toMatch(/^qdisc tbf 1: root .* rate 8Mbit/);
});

/** What limits t/other. */
const theirs = async () => (await lab.exec("n2", ["tc", "qdisc", "show", "dev", HOST.other])).stdout;

test("a limit that somebody removes comes back, another program's stays; with its pod it goes", async () => {
  const [pod = ""] = await queues();
  await lab.exec("n2", ["tc", "qdisc", "del", "dev", pod, "root"]);
  await lab.must(["kill", "n2/agent"]);
  await lab.must(["start", "n2/agent"]);
  await eventually("both are back", async () => (await queues()).length === 2);
  expect(await theirs()).toMatch(/^qdisc tbf 1: root .* rate 8Mbit/);
  expect((await bandwidth("DEL", "t/other", HOST.other)).code).toBe(0);
  await lab.must(["pod", "rm", "t/slow"]);
  await eventually("none is left", async () => (await queues()).length === 0);
  expect((await lab.exec("n2", ["ip", "-br", "link", "show", "type", "ifb"])).stdout).toBe("");
});

test("a limit that cannot be understood is refused, not ignored", async () => {
  const { code, stderr } = await lab.run([
    "pod",
    "add",
    "t/x",
    "--node",
    "n1",
    "--annotation",
    `${Q}dscp=AF44`,
  ]);
  expect(code).toBe(1);
  expect(stderr).toContain("dscp must be 0 to 63 or a name");
});
