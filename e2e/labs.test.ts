import { afterAll, expect, test } from "@jest/globals";
import { margay, TestLab } from "./testing/lab.ts";

const labs: TestLab[] = [];
afterAll(() => Promise.all(labs.map((lab) => lab.down())));

test("two labs at once know nothing of each other; a full pool says so", async () => {
  const small = await TestLab.up("e2e-small", [
    "--nodes",
    "1",
    "--pool",
    "10.244.0.0/30",
    "--block-size",
    "30",
  ]);
  labs.push(small);
  const other = await TestLab.up("e2e-other", ["--nodes", "1"]);
  labs.push(other);

  const status = JSON.parse((await margay(["lab", "status", "-o", "json"])).stdout) as {
    name: string;
    phase: string;
  }[];
  expect(
    status.filter(({ name }) => name.startsWith("e2e-")).map(({ name, phase }) => `${name} ${phase}`),
  ).toEqual(["e2e-other ready", "e2e-small ready"]);
  const ambiguous = await margay(["lab", "pods"]);
  expect(ambiguous.stderr).toMatch(
    /^margay: several labs are running \(.*e2e-other, e2e-small.*\): choose with --name\n$/,
  );

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
}, 120_000);
