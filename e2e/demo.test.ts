import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { afterEach, expect, test } from "@jest/globals";
import { endAll, eventually, exitOf, margay, start } from "./testing/lab.ts";

afterEach(endAll);

/** This run's own. */
const nameOf = (subject: string) => `e2e-${subject}-${process.pid}`;

/** Everything on this machine that could be a lab's: processes by their words, namespaces, links. */
function traces(name: string): string[] {
  const processes = readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map((pid) => words(pid))
    .filter((line) => line.includes("supervise") && line.includes(name));
  const links = execFileSync("ip", ["-br", "link"], { encoding: "utf8" })
    .split("\n")
    .filter((line) => /fabric|to-n\d/.test(line));
  const namespaces = execFileSync("ip", ["netns", "list"], { encoding: "utf8" })
    .split("\n")
    .filter((line) => /^(n\d+|tor)\b/.test(line));
  return [...processes, ...links, ...namespaces];
}

function words(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return ""; // ended meanwhile
  }
}

test("the demo: pods, routes and a policy as expected, exit 0, nothing left", async () => {
  const { code, stdout, stderr } = await margay(["lab", "demo", "--once", "--name", nameOf("demo")]);
  expect(code === 0 ? "" : stdout + stderr).toBe("");
  expect(stdout).not.toContain("should be");
  expect(stdout).toMatch(/│ n1 +│ tor +│ 65000 │ Established │ 2 +│/);
  expect(stdout).toMatch(/│ shop\/web-1 .* no +│/);
  expect(stdout).toContain("198.51.100.1/32");
  expect(stderr).toContain("✓ 6 pods through the CNI plugin");
  expect(stdout + stderr).not.toContain("\x1b["); // plain in a pipe
  expect(traces(nameOf("demo"))).toEqual([]);
}, 60_000);

test("reflectors instead of the mesh: only they have iBGP sessions with everybody, and all is reached", async () => {
  const flags = ["--nodes", "6", "--route-reflectors", "2", "--once", "--name", nameOf("rr")];
  const { code, stdout, stderr } = await margay(["lab", "demo", ...flags]);
  expect(code === 0 ? "" : stdout + stderr).toBe("");
  const sessions = stdout.split("\n").filter((line) => /│ n\d .*│ (64512|65000) │ Established/.test(line));
  const peersOf = (node: string) => sessions.filter((line) => line.startsWith(`│ ${node} `)).length;
  expect(["n1", "n2", "n3", "n6"].map(peersOf)).toEqual([6, 6, 3, 3]); // reflectors: 5 nodes + ToR; others: 2 reflectors + ToR
}, 90_000);

test("kill -9 leaves nothing behind, and the next start works", async () => {
  const lab = start(["lab", "up", "--nodes", "2", "--name", nameOf("kill")]);
  let told = "";
  lab.stderr?.on("data", (chunk) => (told += chunk));
  await eventually("the lab is up", async () => told.includes(`lab ${nameOf("kill")} is up`), 60_000);
  expect(traces(nameOf("kill")).length).toBeGreaterThan(0);
  const twice = await margay(["lab", "up", "--name", nameOf("kill")]);
  expect(twice.code).toBe(1);
  expect(twice.stderr.replace(/\b\d+\b/g, "N")).toBe(
    "margay: lab e2e-kill-N is running already (process N); end it: margay lab down --name e2e-kill-N\n",
  );
  lab.kill("SIGKILL");
  await exitOf(lab);
  await eventually("everything is gone", async () => traces(nameOf("kill")).length === 0, 5000);
  const again = await margay([
    "lab",
    "demo",
    "--once",
    "--nodes",
    "2",
    "--pods",
    "2",
    "--name",
    nameOf("kill"),
  ]);
  expect(again.code === 0 ? "" : again.stdout + again.stderr).toBe("");
}, 120_000);

test("SIGTERM ends it in order, exit 0", async () => {
  const lab = start(["lab", "up", "--nodes", "1", "--name", nameOf("term")]);
  let told = "";
  lab.stderr?.on("data", (chunk) => (told += chunk));
  await eventually("the lab is up", async () => told.includes(`lab ${nameOf("term")} is up`), 60_000);
  lab.kill("SIGTERM");
  expect(await exitOf(lab)).toBe(0);
  expect(traces(nameOf("term"))).toEqual([]);
}, 90_000);
