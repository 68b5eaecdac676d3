import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test as jestTest } from "@jest/globals";
import { parse } from "yaml";
import { eventually, MARGAY, TestLab } from "./testing/lab.ts";
import { MemoryGroup, noMemoryGroups } from "./testing/memory-group.ts";

const why = noMemoryGroups();
const test = why
  ? (name: string, _: () => Promise<void>) => jestTest.skip(`${name} (${why})`, () => {})
  : jestTest;

const CHURN = fileURLToPath(new URL("testing/churn-program.ts", import.meta.url));
const VALUES = new URL("../charts/margay/values.yaml", import.meta.url);
const UNITS = { Mi: 2 ** 20, Gi: 2 ** 30 } as const;

interface Resources {
  readonly resources: { readonly limits: { readonly memory: string } };
}
interface Values {
  readonly node: { readonly agent: Resources; readonly bgpd: Resources };
}
const { node } = parse(readFileSync(VALUES, "utf8")) as Values;

/** "1Gi". */
function bytes(quantity: string): number {
  const [, count, unit] = /^(\d+)(Mi|Gi)$/.exec(quantity) ?? [];
  return Number(count) * UNITS[unit as keyof typeof UNITS];
}

let lab: TestLab;
const groups: MemoryGroup[] = [];
beforeAll(async () => {
  if (why === undefined) lab = await TestLab.up("e2e-limits", ["--nodes", "1"]);
});
afterAll(async () => {
  await lab?.down();
  for (const group of groups) {
    await eventually("its processes have ended", async () => group.isEmpty());
    group.remove();
  }
});

/** Starts a daemon of n1 anew, with all that it ever takes counted: a process is in its parent's group when it is made. */
async function limited(daemon: "agent" | "bgpd", limitBytes: number): Promise<MemoryGroup> {
  const group = new MemoryGroup(`${daemon}-${groups.length}`, limitBytes);
  groups.push(group);
  const enter = (path: string) => lab.exec("fabric", ["sh", "-c", `echo 1 > ${path}/cgroup.procs`]); // 1: who starts it
  await lab.run(["kill", `n1/${daemon}`]);
  await enter(group.path);
  await lab.run(["start", `n1/${daemon}`]);
  await enter(MemoryGroup.ours());
  return group;
}

test("agent and bgpd with 100 pods, and 500 that come and go, stay within the chart's memory limits", async () => {
  const agent = await limited("agent", bytes(node.agent.resources.limits.memory));
  const bgpd = await limited("bgpd", bytes(node.bgpd.resources.limits.memory));
  const words = ["--conditions=margay-source", "--no-warnings", CHURN, join(dirname(MARGAY), "margay-cni")];
  const { code, stderr } = await lab.exec("fabric", [process.execPath, ...words, "100", "500"]);
  expect(code === 0 ? "" : stderr).toBe("");
  expect([agent.kills(), bgpd.kills()]).toEqual([0, 0]);
  expect([agent.isEmpty(), bgpd.isEmpty()]).toEqual([false, false]);
  process.stderr.write(`  at most: agent ${mib(agent)} MiB, bgpd ${mib(bgpd)} MiB\n`);
});

test("a limit that does not do is seen: the kernel kills the agent for it", async () => {
  const group = await limited("agent", bytes("40Mi"));
  await eventually("it was killed", async () => group.kills() > 0);
  expect(group.isEmpty()).toBe(true);
});

const mib = (group: MemoryGroup): number => Math.round(group.peakBytes() / UNITS.Mi);
