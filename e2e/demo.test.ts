import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, expect, test } from "@jest/globals";
import { Cage, type Machine } from "./testing/cage.ts";
import { endAll, eventually, exitOf, MARGAY, margay, start, startProgram } from "./testing/lab.ts";

const ROOT = resolve(fileURLToPath(import.meta.url), "../..");
const ESCAPE = "\x1b[";

let cage: Cage;
let before: Machine;
beforeAll(async () => {
  cage = await Cage.open();
  before = cage.look();
});
afterEach(endAll);
afterAll(() => cage?.close());

/** This run's own. */
const nameOf = (subject: string) => `e2e-${subject}-${process.pid}`;

/** Resolves when a process inside has said it on stderr. */
async function says(process: ReturnType<typeof start>, words: string): Promise<void> {
  let told = "";
  process.stderr?.on("data", (chunk) => (told += chunk));
  process.stdout?.on("data", (chunk) => (told += chunk));
  await eventually(words, async () => told.includes(words), 200_000); // set-up may have to build
}

test("the demo: pods, routes and a policy as expected, exit 0, nothing left", async () => {
  const demo = ["lab", "demo", "--once", "--name", nameOf("demo")];
  const { code, stdout, stderr } = await margay(demo, "", cage.inside);
  expect(code === 0 ? "" : stdout + stderr).toBe("");
  expect(stdout).not.toContain("should be");
  expect(stdout).toMatch(/│ n1 +│ tor +│ 65000 │ Established │ 2 +│/);
  expect(stdout).toMatch(/│ shop\/web-1 .* no +│/);
  expect(stdout).toContain("198.51.100.1/32");
  expect(stderr).toContain("✓ 6 pods through the CNI plugin");
  expect(stdout + stderr).not.toContain(ESCAPE); // plain in a pipe
  expect(cage.look()).toEqual(before);
});

/** Nothing reaches the pod of which the demo says that all do. */
const CLOSED = `apiVersion: margay.dev/v1
kind: GlobalNetworkPolicy
metadata: { name: closed }
spec: { selector: app == "monitor", types: [Ingress] }
`;

test("a connection that is not as expected: it is marked in the report, exit 1, nothing left", async () => {
  const name = nameOf("wrong");
  const lab = start(["lab", "demo", "--once", "--nodes", "1", "--name", name], cage.inside);
  const exit = exitOf(lab);
  let report = "";
  lab.stdout?.setEncoding("utf8").on("data", (chunk) => {
    report += chunk;
  });
  const apply = ["sh", "-c", `echo '${CLOSED}' | margay apply -f -`];
  const inLab = ["lab", "exec", "fabric", "--name", name, "--", ...apply];
  await eventually("a policy is there that the demo does not know", async () => {
    return (await margay(inLab, "", cage.inside)).code === 0;
  });
  expect(await exit).toBe(1);
  expect(report).toMatch(/│ shop\/db .* no \(should be yes\) +│/);
  expect(cage.look()).toEqual(before);
});

test("reflectors instead of the mesh: only they have iBGP sessions with everybody, and all is reached", async () => {
  const flags = ["--nodes", "6", "--route-reflectors", "2", "--once", "--name", nameOf("rr")];
  const { code, stdout, stderr } = await margay(["lab", "demo", ...flags]);
  expect(code === 0 ? "" : stdout + stderr).toBe("");
  const sessions = stdout.split("\n").filter((line) => /│ n\d .*│ (64512|65000) │ Established/.test(line));
  const peersOf = (node: string) => sessions.filter((line) => line.startsWith(`│ ${node} `)).length;
  expect(["n1", "n2", "n3", "n6"].map(peersOf)).toEqual([6, 6, 3, 3]); // reflectors: 5 nodes + ToR; others: 2 reflectors + ToR
});

const up = [process.execPath, MARGAY, "lab", "up", "--nodes", "1", "--name", "killed"];
/** npm keeps a cache of its own in /tmp. */
const npm = [
  "env",
  "NODE_DISABLE_COMPILE_CACHE=1",
  "npm",
  "--prefix",
  ROOT,
  "start",
  "--",
  "--nodes",
  "1",
  "--pods",
  "1",
  "--name",
  "killed",
];

test.each<[string, readonly string[], RegExp]>([
  ["the launcher", up, /^\S+node \S+ lab up /],
  ["the supervisor", up, /^\S+node \S+ lab supervise /],
  ["npm", npm, /^npm start/],
  ["set-up", npm, /^node \S+setup.mjs start/],
])("kill -9 of %s leaves nothing behind", async (_victim, command, words) => {
  await says(startProgram([...cage.inside, ...command]), command === up ? "lab killed is up" : "total");
  cage.signal("SIGKILL", words);
  await eventually("nobody is left", async () => cage.processes().size === before.processes.length);
  expect(cage.look()).toEqual(before);
});

test("on a terminal it is coloured, and works after all that", async () => {
  const demo = `${process.execPath} ${MARGAY} lab demo --once --nodes 2 --pods 2 --name killed`;
  const terminal = startProgram([...cage.inside, "script", "-qec", demo, "/dev/null"]);
  let shown = "";
  terminal.stdout?.on("data", (chunk) => (shown += chunk));
  expect((await exitOf(terminal)) === 0 ? "" : shown).toBe("");
  expect(shown).toContain(ESCAPE);
  expect(cage.look()).toEqual(before);
});

test("it is not started twice; SIGTERM ends it in order, exit 0", async () => {
  const words = ["lab", "up", "--nodes", "1", "--name", nameOf("term")];
  const lab = start(words, cage.inside);
  await says(lab, "is up");
  const twice = await margay(words, "", cage.inside);
  expect(twice.code).toBe(1);
  expect(twice.stderr.replace(/\b\d+\b/g, "N")).toBe(
    "margay: lab e2e-term-N is running already (process N); end it: margay lab down --name e2e-term-N\n",
  );
  cage.signal("SIGTERM", /^\S+node \S+ lab up /);
  expect(await exitOf(lab)).toBe(0);
  expect(cage.look()).toEqual(before);
});

test("the demo stays until Ctrl-C, exit 0", async () => {
  const lab = start(["lab", "demo", "--nodes", "1", "--pods", "1", "--name", nameOf("int")], cage.inside);
  await says(lab, "total");
  cage.signal("SIGINT", /^\S+node \S+ lab demo /);
  expect(await exitOf(lab)).toBe(0);
  expect(cage.look()).toEqual(before);
});
