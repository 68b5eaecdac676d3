/** `margay bgp` as people read it: all about one session, why a path lost, and what an order did. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "@jest/globals";
import { operate, peers, routes } from "./bgp.ts";
import { recorder, withDaemon } from "./testing/harness.ts";

const runDir = mkdtempSync(join(tmpdir(), "margay-bgp-"));
afterAll(() => rmSync(runDir, { recursive: true }));

const tor = {
  ...{ name: "tor", address: "172.20.0.2", as: 65000, state: "Active", since: "2026-01-01T00:00:00.000Z" },
  ...{ type: "global", received: 0, accepted: 0, best: 0, sent: 0, lastError: "connection refused" },
  lastReceived: "Cease: Administrative Shutdown: until 14:00 (2026-01-01T00:00:00.000Z)",
  timers: { holdTimeSeconds: 90, keepaliveSeconds: 30 },
  counts: { flaps: 2 },
  capabilities: { ours: ["IPv4 unicast", "route refresh"], theirs: [] },
  warnings: [],
};
const asked = async (
  answers: Record<string, unknown>,
  ask: (t: ReturnType<typeof recorder>) => Promise<void>,
) => {
  const terminal = recorder();
  await withDaemon({ daemon: "bgpd", runDir, answers }, () => ask(terminal));
  return [...terminal.warned, ...terminal.printed].join("\n");
};

test("one session: all there is, what is not there left out", async () => {
  const text = await asked({ "/peers": [tor] }, (t) =>
    peers({ runDir, output: "table", peer: "172.20.0.2" }, t),
  );
  expect(text.split("\n")).toEqual([
    "peer                 tor (172.20.0.2), AS 65000",
    "state                Active since 2026-01-01T00:00:00.000Z",
    "why not up           connection refused",
    "prefixes             0 in, 0 accepted, 0 best, 0 out",
    "last error received  Cease: Administrative Shutdown: until 14:00 (2026-01-01T00:00:00.000Z)",
    "flaps                2",
    "timers               hold 90 s, keepalive 30 s",
    "our capabilities     IPv4 unicast, route refresh",
  ]);
});

test("a peer that is not there is named, with those that are", async () => {
  await expect(
    asked({ "/peers": [tor] }, (t) => peers({ runDir, output: "table", peer: "spine" }, t)),
  ).rejects.toMatchObject({ code: "not-found", message: "no BGP peer is called spine; there are tor" });
});

test("wide shows both directions, yaml and json all of it", async () => {
  const wide = await asked({ "/peers": [tor] }, (t) => peers({ runDir, output: "wide" }, t));
  expect(wide.split("\n")[0]).toMatch(/TYPE +HOLD +KEEPALIVE +FLAPS +LAST SENT +LAST RECEIVED +LAST OF TCP$/);
  expect(wide).toContain("until 14:00");
  const yaml = await asked({ "/peers": [tor] }, (t) => peers({ runDir, output: "yaml" }, t));
  expect(yaml).toContain("  lastError: connection refused\n");
});

test("--why: each path with its attributes and the step at which it lost; an address finds the longest match", async () => {
  const best = {
    ...{ prefix: "10.244.1.0/26", nextHop: "172.20.0.11", from: "n1", best: true, multipath: false },
    ...{
      asPath: "",
      origin: "igp",
      localPref: 100,
      originatorId: 0xac14000b,
      clusterList: [0xf4000001],
      kernel: "installed",
    },
  };
  const lost = {
    ...{
      prefix: "10.244.1.0/26",
      nextHop: "172.20.0.2",
      from: "tor",
      best: false,
      multipath: false,
      asPath: "65000 64513",
    },
    ...{
      origin: "igp",
      localPref: 100,
      communities: ["64512:1"],
      extendedCommunities: ["0x0002fde800000064"],
      largeCommunities: ["64512:1:2"],
      ...{ onlyToCustomer: 65000, pathId: 7 },
      lost: "step 3, longer AS_PATH",
      kernel: "installed",
    },
  };
  const answers = { "/routes?match=10.244.1.7%2F32&peer=tor": [best, lost] };
  const text = await asked(answers, (t) =>
    routes({ runDir, output: "table", prefix: "10.244.1.7", peer: "tor", why: true }, t),
  );
  expect(text.split("\n")).toEqual([
    "path          10.244.1.0/26 by 172.20.0.11, from n1",
    "is            the best",
    "origin        igp",
    "local pref    100",
    "originator    172.20.0.11",
    "cluster list  244.0.0.1",
    "kernel        installed",
    "",
    "path                  10.244.1.0/26 by 172.20.0.2, from tor",
    "is                    not the best",
    "lost at               step 3, longer AS_PATH",
    "AS path               65000 64513",
    "origin                igp",
    "local pref            100",
    "communities           64512:1",
    "extended communities  0x0002fde800000064",
    "large communities     64512:1:2",
    "only to customer      65000",
    "path identifier       7",
    "kernel                installed",
  ]);
});

test("of more paths than asked for only these, and that there are more", async () => {
  const path = {
    prefix: "10.244.1.0/26",
    from: "n1",
    best: true,
    multipath: false,
    asPath: "",
    kernel: "installed",
  };
  const answers = { "/routes?limit=1": [path] };
  const text = await asked(answers, (t) => routes({ runDir, output: "table", limit: 1 }, t));
  expect(text).toMatch("only the first 1 paths are shown: name a prefix or a peer, or see --limit");
  expect(text).toMatch("10.244.1.0/26");
});

test("an order says what was done, peer by peer", async () => {
  const answers = {
    "/shutdown?peer=all&message=until+14%3A00": ["tor (172.20.0.2): shut down until started again"],
  };
  const order = { runDir, peer: "all", message: "until 14:00" };
  expect(await asked(answers, (t) => operate("shutdown", order, t))).toBe(
    "tor (172.20.0.2): shut down until started again",
  );
});
