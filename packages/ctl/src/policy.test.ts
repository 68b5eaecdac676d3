import { expect, test } from "@jest/globals";
import { showDomains, showPolicy } from "./policy.ts";
import { inDirectory, recorder, withDaemon } from "./testing/harness.ts";

const rule = (id: string, action: string) => ({ id, action });
const answers = {
  "/policies": [
    {
      ...{ id: "np/shop/db", revision: "9", endpoints: 2 },
      rules: [rule("np/shop/db/in/0", "deny"), rule("np/shop/db/in/1", "allow")],
    },
    {
      id: "gnp/odd",
      revision: "10",
      endpoints: 1,
      problem: "there is no tier x",
      rules: [rule("gnp/odd/in/0", "deny")],
    },
    { id: "np/ops/closed", endpoints: 1, rules: [] },
    { id: "staged/np/ops/new", endpoints: 1, staged: true, rules: [rule("staged/np/ops/new/in/0", "deny")] },
  ],
  "/counters": {
    "np/shop/db/in/1": { packets: 12, bytes: 720 },
    "tier/default/in/default": { packets: 3, bytes: 180 },
  },
};

const shown = (request: { name?: string; counters: boolean; output?: "table" | "json" }) =>
  inDirectory((runDir) =>
    withDaemon({ daemon: "agent", runDir, answers }, async () => {
      const terminal = recorder();
      await showPolicy({ runDir, output: "table", ...request }, terminal);
      return terminal.printed.join("\n").replaceAll(/ {2,}/g, "  ").split("\n");
    }),
  );

test("rule by rule, with what each counted, and what no rule decided", async () => {
  expect(await shown({ counters: true })).toEqual([
    "POLICY  REVISION  PODS  RULE  ACTION  PACKETS  BYTES",
    "np/shop/db  9  2  in/0  deny  0  0",
    "  in/1  allow  12  720",
    "gnp/odd  10  1  in/0  deny  0  0",
    "  closed: there is no tier x",
    "np/ops/closed  -  1  (none)",
    "staged/np/ops/new  -  1  in/0  (deny)  0  0",
    "",
    "OTHER DECISION  PACKETS  BYTES",
    "tier/default/in/default  3  180",
  ]);
});

test("without counters the kernel is not asked", async () => {
  expect((await shown({ name: "shop/db", counters: false })).slice(0, 2)).toEqual([
    "POLICY  REVISION  PODS  RULE  ACTION",
    "np/shop/db  9  2  in/0  deny",
  ]);
});

test("JSON for programs", async () => {
  const text = await shown({ name: "db", counters: true, output: "json" });
  expect(JSON.parse(text.join("\n"))).toMatchObject({
    policies: [
      { id: "np/shop/db", rules: [{ packets: 0 }, { id: "np/shop/db/in/1", packets: 12, bytes: 720 }] },
    ],
    others: [],
  });
});

test("a policy that is not in force here is named", async () => {
  await expect(shown({ name: "web", counters: false })).rejects.toMatchObject({
    code: "not-found",
    message:
      "no policy web applies to a pod of this node; in force: np/shop/db, gnp/odd, np/ops/closed, staged/np/ops/new",
  });
});

test("what DNS told of domains, or that it told nothing", async () => {
  const told = (domains: object[]) =>
    inDirectory((runDir) =>
      withDaemon({ daemon: "agent", runDir, answers: { "/domains": domains } }, async () => {
        const terminal = recorder();
        await showDomains({ runDir, output: "table" }, terminal);
        return [...terminal.printed, ...terminal.warned].join("\n").replaceAll(/ {2,}/g, "  ").split("\n");
      }),
    );
  const addresses = [
    { address: "192.0.2.1", seconds: 58 },
    { address: "2001:db8::1", seconds: 0 },
  ];
  expect(await told([{ domain: "www.example.com", addresses }])).toEqual([
    "DOMAIN  ADDRESS  SECONDS LEFT",
    "www.example.com  192.0.2.1  58",
    "  2001:db8::1  0",
  ]);
  expect(await told([])).toEqual([expect.stringMatching(/no pod of this node has asked DNS/)]);
});
