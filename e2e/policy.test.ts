import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { TestLab } from "./testing/lab.ts";

/** One lab for the file; each test leaves no policy behind. Pods: shop/web on n1, shop/db on n2, ops/mon on n1. */
let lab: TestLab;
const EVERYBODY = [
  "ops/mon>shop/db",
  "ops/mon>shop/web",
  "shop/db>ops/mon",
  "shop/db>shop/web",
  "shop/web>ops/mon",
  "shop/web>shop/db",
];
const without = (...gone: string[]) => EVERYBODY.filter((pair) => !gone.includes(pair));

beforeAll(async () => {
  lab = await TestLab.up("policy", ["--nodes", "2"]);
  await lab.must(["namespace", "label", "ops", "team=ops"]);
  await lab.must(["pod", "add", "shop/web", "--node", "n1", "--labels", "app=web"]);
  await lab.must(["pod", "add", "shop/db", "--node", "n2", "--labels", "app=db"]);
  await lab.must(["pod", "add", "ops/mon", "--node", "n1", "--labels", "app=mon"]);
  await lab.wait();
});
afterAll(() => lab?.down());

const reached = async (...flags: string[]) => (await lab.reached(flags)).sort();

const policy = (spec: string) => `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: p, namespace: shop }
spec: ${spec}
`;

const ANY = policy("{ podSelector: {} }");

test("without a policy everybody reaches everybody, in both protocols", async () => {
  expect(await reached()).toEqual(EVERYBODY);
  expect(await reached("--protocol", "udp")).toEqual(EVERYBODY);
});

test("a policy follows labels of pods and of namespaces", async () => {
  await lab.apply(
    policy(
      "{ podSelector: { matchLabels: { app: db } }, ingress: [{ from: [{ podSelector: { matchLabels: { role: reader } } }] }] }",
    ),
  );
  expect(await reached()).toEqual(without("shop/web>shop/db", "ops/mon>shop/db"));
  await lab.must(["pod", "label", "shop/web", "role=reader"]);
  await lab.wait();
  expect(await reached()).toEqual(without("ops/mon>shop/db"));
  await lab.apply(
    policy(
      "{ podSelector: { matchLabels: { app: db } }, ingress: [{ from: [{ namespaceSelector: { matchLabels: { team: ops } } }] }] }",
    ),
  );
  expect(await reached()).toEqual(without("shop/web>shop/db"));
  await lab.must(["namespace", "label", "ops", "team-"]);
  await lab.wait();
  expect(await reached()).toEqual(without("shop/web>shop/db", "ops/mon>shop/db"));
  await lab.must(["namespace", "label", "ops", "team=ops"]);
  await lab.must(["pod", "label", "shop/web", "role-"]);
  await lab.delete(ANY);
  expect(await reached()).toEqual(EVERYBODY);
});

test("ports and protocols: only what is named passes", async () => {
  await lab.apply(
    policy(
      "{ podSelector: { matchLabels: { app: db } }, ingress: [{ ports: [{ port: 8080, protocol: TCP }, { port: 80, protocol: UDP }] }] }",
    ),
  );
  const noDb = without("shop/web>shop/db", "ops/mon>shop/db");
  expect(await reached("--port", "80")).toEqual(noDb);
  expect(await reached("--port", "8080")).toEqual(EVERYBODY);
  expect(await reached("--port", "80", "--protocol", "udp")).toEqual(EVERYBODY);
  expect(await reached("--port", "8080", "--protocol", "udp")).toEqual(noDb);
  await lab.delete(ANY);
});

test("egress, and a pod on the same node", async () => {
  await lab.apply(
    policy(
      "{ podSelector: { matchLabels: { app: web } }, policyTypes: [Egress], egress: [{ to: [{ podSelector: { matchLabels: { app: db } } }] }] }",
    ),
  );
  expect(await reached()).toEqual(without("shop/web>ops/mon"));
  await lab.delete(ANY);
});

test("a pod asked for by address has it; its address is free again after rm", async () => {
  const add = ["pod", "add", "shop/fixed", "--node", "n2", "--ip", "10.244.9.9", "--ip", "fd00:10:244::9:9"];
  expect(await lab.must(add)).toBe("pod shop/fixed on n2: 10.244.9.9/32, fd00:10:244::9:9/128\n");
  const twice = await lab.run(["pod", "add", "shop/other", "--node", "n1", "--ip", "10.244.9.9"]);
  expect(twice.code).toBe(1);
  expect(twice.stderr).toMatch(/10\.244\.9\.9/);
  await lab.wait();
  expect(await lab.reached()).toContain("shop/web>shop/fixed");
  await lab.must(["pod", "rm", "shop/fixed"]);
  expect(await lab.must(add)).toContain("10.244.9.9/32");
  await lab.must(["pod", "rm", "shop/fixed"]);
});

test("pods reach the outside behind the ToR, translated to their node's address", async () => {
  for (const address of ["198.51.100.1", "2001:db8:100::1"]) {
    const { code, stdout } = await lab.exec("shop/web", ["ping", "-c", "1", "-W", "2", address]);
    expect(code === 0 ? "" : stdout).toBe("");
  }
});

test("an invalid resource is refused with file, field and what is allowed; nothing of the file is applied", async () => {
  const folder = mkdtempSync(join(tmpdir(), "margay-e2e-"));
  const file = join(folder, "two.yaml");
  writeFileSync(
    file,
    `apiVersion: margay.dev/v1
kind: NetworkSet
metadata: { name: good, namespace: shop }
spec: { nets: [192.0.2.0/24] }
---
apiVersion: margay.dev/v1
kind: IPPool
metadata: { name: bad }
spec: { cidr: 10.99.0.0/16, blockSize: 40 }
`,
  );
  const { code, stderr } = await lab.exec("fabric", ["margay", "apply", "-f", file]);
  rmSync(folder, { recursive: true });
  expect(code).toBe(1);
  expect(stderr).toContain("1 of 2 documents is invalid; nothing was changed");
  expect(stderr).toMatch(/two\.yaml:6: .*blockSize/);
  const { stdout } = await lab.exec("fabric", ["margay", "get", "networksets", "-n", "shop", "-o", "json"]);
  expect(stdout).not.toContain("good");
});

test("words that make no sense are refused in one line", async () => {
  const refused = async (words: string[]) => (await lab.run(words)).stderr;
  expect(await refused(["pod", "add", "../x", "--node", "n1"])).toMatch(
    /^margay: ".*" is no DNS label .*\n$/,
  );
  expect(await refused(["pod", "add", "x", "--node", "n7"])).toBe("margay: no node n7\n");
  expect(await refused(["pod", "rm", "x"])).toMatch(
    /^margay: no pod default\/x; there are: .*shop\/web.*\n$/,
  );
  expect(await refused(["kill", "n1/nothing"])).toMatch(
    /^margay: no process n1\/nothing; there are: etcd.*\n$/,
  );
});
