import { readFileSync } from "node:fs";
import { afterAll, expect, test } from "@jest/globals";
import { eventually, exitOf, margay, start, startProgram, TestLab } from "./testing/lab.ts";

interface Status {
  readonly name: string;
  readonly phase: string;
  readonly processes: readonly { readonly name: string; readonly log: string }[];
}

const labs: TestLab[] = [];
afterAll(async () => {
  for (const lab of labs) await lab.down();
});

test("two labs at once know nothing of each other; a full pool says so", async () => {
  const small = await TestLab.up("small", ["--nodes", "1", "--pool", "10.244.0.0/30", "--block-size", "30"]);
  labs.push(small);
  const other = await TestLab.up("other", ["--nodes", "1"]);
  labs.push(other);

  const begins = ["-e", "setTimeout(() => {}, 1e6)", "lab", "supervise", "--name", "begun"];
  const begun = startProgram([process.execPath, ...begins]);
  let status: Status[] = [];
  await eventually("the one that begins is listed", async () => {
    status = JSON.parse((await margay(["lab", "status", "-o", "json"])).stdout) as Status[];
    return status.some(({ name }) => name === "begun");
  });
  const phaseOf = (lab: TestLab) => status.find(({ name }) => name === lab.name)?.phase;
  expect([phaseOf(small), phaseOf(other)]).toEqual(["ready", "ready"]);
  begun.kill("SIGKILL");
  expect(status.find(({ name }) => name === "begun")?.phase).toBe("starting"); // it has no socket yet
  const log =
    status.find(({ name }) => name === small.name)?.processes.find(({ name }) => name === "n1/agent")?.log ??
    "";
  expect(readFileSync(log, "utf8")).toContain('"event":"started"'); // a path that is good outside the lab
  const ambiguous = await margay(["lab", "pods"]);
  expect(ambiguous.stderr).toMatch(/^margay: several labs are running \(.*\): choose with --name\n$/);

  for (const name of ["p1", "p2", "p3", "p4"]) await small.must(["pod", "add", name, "--node", "n1"]);
  const full = await small.run(["pod", "add", "p5", "--node", "n1"]);
  expect(full.code).toBe(1);
  expect(full.stderr).toMatch(/^margay: ADD of default\/p5 on n1: CNI error \d+: .*default-ipv4.*n1.*\n$/);
  expect((await small.pods()).map(({ name }) => name)).toEqual(["p1", "p2", "p3", "p4"]);
  expect(await other.pods()).toEqual([]);

  await small.must(["pod", "rm", "p2"]);
  await small.must(["pod", "add", "p5", "--node", "n1"]); // the freed address is good again
  await small.down();
  expect(await other.must(["pod", "add", "p1", "--node", "n1"])).toContain("pod default/p1 on n1: 10.244.");
});

test("up --detach returns when the lab is up; down ends it", async () => {
  const name = `e2e-detached-${process.pid}`;
  const up = await margay(["lab", "up", "--detach", "--nodes", "1", "--name", name]);
  expect(up.code === 0 ? "" : up.stderr).toBe("");
  expect(up.stderr).toContain(`lab ${name} is up`);
  expect((await margay(["lab", "down", "--name", name])).stdout).toBe(`lab ${name} has ended\n`);
  expect((await margay(["lab", "down", "--name", name])).stderr).toBe(
    `margay: no lab named ${name} is running\n`,
  );
});

test("up --detach given up with Ctrl-C leaves no lab", async () => {
  const name = `e2e-given-up-${process.pid}`;
  const up = start(["lab", "up", "--detach", "--nodes", "1", "--name", name]);
  await eventually("the lab has begun", async () => (await margay(["lab", "status"])).stdout.includes(name));
  up.kill("SIGINT");
  expect(await exitOf(up)).toBe(1);
  await eventually("it is gone", async () => !(await margay(["lab", "status"])).stdout.includes(name));
});

test("a pool that is none is one line, not a stack", async () => {
  const { code, stderr } = await margay(["lab", "up", "--pool", "nonsense", "--name", "e2e-nonsense"]);
  expect([code, stderr]).toEqual([
    1,
    'margay: lab: IPPool default-ipv4: spec.cidr: must be a CIDR such as 10.0.0.0/8, found "nonsense"\n',
  ]);
});
