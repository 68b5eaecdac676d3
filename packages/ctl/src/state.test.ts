import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, test } from "@jest/globals";
import { BarrierResponder, memoryStore, Syncer } from "@margay/datastore";
import { parse } from "yaml";
import { apply } from "./apply.ts";
import { peers, routes } from "./bgp.ts";
import { show } from "./ipam.ts";
import { nodeStatus } from "./node.ts";
import { inDirectory, located, recorder, withDaemon } from "./testing/harness.ts";
import { wait } from "./wait.ts";

const asTable = { output: "table" } as const;

async function storeWith(...documents: object[]) {
  const store = memoryStore();
  await apply(store, located(...documents), asTable, recorder());
  return store;
}

const pool = { kind: "IPPool", metadata: { name: "default-ipv4" }, spec: { cidr: "10.244.0.0/16" } };
const attributes = { pod: "web", namespace: "shop", node: "n2", containerID: "4f1c" };
const block = {
  kind: "IPAMBlock",
  metadata: { name: "10.244.0.0-30" },
  spec: {
    ...{
      cidr: "10.244.0.0/30",
      affinity: "host:n1",
      affinityClaimTime: "2026-01-01T00:00:00Z",
      sequenceNumber: 2,
    },
    ...{
      allocations: { "1": { handle: "k8s-pod-network.4f1c", sequence: 1, attributes } },
      unallocated: [0, 2, 3],
    },
  },
};

describe("ipam show", () => {
  const request = { showBlocks: false, output: "table" } as const;
  const squeezed = async (more: object) => {
    const terminal = recorder();
    await show(await storeWith(pool, block), { ...request, ...more }, terminal);
    return terminal.printed.map((text) => text.replaceAll(/ {2,}/g, "  "));
  };

  test("how full each pool is", async () => {
    expect(await squeezed({})).toEqual([
      "POOL  BLOCK  NODE  TOTAL  IN USE  FREE  BORROWED\ndefault-ipv4  10.244.0.0/16  65536  1  65535  1",
    ]);
  });

  test("each block with its node", async () => {
    expect((await squeezed({ showBlocks: true }))[0]).toMatch(
      /\n\s+10\.244\.0\.0\/30 {2}n1 {2}4 {2}1 {2}3 {2}1$/,
    );
  });

  test("who has an address, and that it is borrowed", async () => {
    expect(await squeezed({ ip: "10.244.0.1" })).toEqual([
      [
        "address:  10.244.0.1",
        "block:  10.244.0.0/30 (borrowed from n1)",
        "pod:  shop/web",
        "node:  n2",
        "container: 4f1c",
        "handle:  k8s-pod-network.4f1c",
      ].join("\n"),
    ]);
  });

  test.each<[string, string, string, RegExp]>([
    ["a free address", "10.244.0.2", "not-found", /10.244.0.2 is free \(pool default-ipv4\)/],
    ["an address of no pool", "192.0.2.1", "not-found", /192.0.2.1 is free; it lies in no pool/],
    ["no address", "web", "usage", /--ip "web": not an IPv4 or IPv6 address/],
  ])("%s", async (_why, ip, code, message) => {
    await expect(squeezed({ ip })).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  test.each([
    ["json", (text: string): unknown => JSON.parse(text)],
    ["yaml", (text: string): unknown => parse(text)],
  ] as const)("%s has numbers", async (output, read) => {
    const terminal = recorder();
    await show(await storeWith(pool, block), { showBlocks: false, output }, terminal);
    expect(read(terminal.printed.join(""))).toMatchObject({
      pools: [{ name: "default-ipv4", total: 65536, inUse: 1 }],
      outside: [],
    });
  });
});

const sleep = (ms: number, signal: AbortSignal) => delay(ms, undefined, { signal }).catch(() => undefined);
const node = (name: string) => ({ kind: "Node", metadata: { name } });

describe("wait", () => {
  const request = { timeoutSeconds: 2, nodes: [], output: "table", id: "b1", sleep } as const;

  test("those who have not applied everything are named with the reason", async () => {
    const store = await storeWith(node("n1"));
    const responder = new BarrierResponder({
      store,
      node: "n1",
      daemon: "agent",
      pending: async () => "iptables-restore failed",
      sleep,
    });
    const syncer = new Syncer({
      store,
      prefix: "/margay/v1/",
      onBatch: ({ updates }) => responder.feed(updates),
      sleep,
    });
    const running = syncer.start();
    const terminal = recorder();
    expect(await wait(store, request, terminal)).toBe(false);
    expect(terminal.printed.join("\n").split("\n")).toEqual([
      "2 of 2 daemons have not applied everything:",
      "n1 agent: iptables-restore failed",
      expect.stringMatching(/^n1 bgpd: no answer/),
    ]);
    responder.stop();
    await syncer.stop();
    await running;
  });

  test("returns as soon as all have", async () => {
    const store = await storeWith(node("n1"));
    const responders = ["agent", "bgpd"].map(
      (daemon) => new BarrierResponder({ store, node: "n1", daemon, pending: async () => undefined, sleep }),
    );
    const onBatch = ({ updates }: { updates: Parameters<BarrierResponder["feed"]>[0] }) => {
      for (const responder of responders) responder.feed(updates);
    };
    const syncer = new Syncer({ store, prefix: "/margay/v1/", onBatch, sleep });
    const running = syncer.start();
    const terminal = recorder();
    expect(await wait(store, { ...request, timeoutSeconds: 20 }, terminal)).toBe(true);
    expect(terminal.printed).toEqual(["2 daemons have applied everything"]);
    await syncer.stop();
    await running;
  });

  test("without nodes there is nothing to wait for, which is said", async () => {
    const terminal = recorder();
    expect(await wait(memoryStore(), request, terminal)).toBe(true);
    expect(terminal.warned).toEqual(["there is no node: nothing to wait for"]);
  });
});

describe("the daemons of this node", () => {
  test("both are ready", () =>
    inDirectory(async (runDir) => {
      const terminal = recorder();
      const ready = { runDir, answers: { "/ready": { ready: true, reasons: [] } } };
      const ask = () => nodeStatus({ runDir, ...asTable }, terminal);
      expect(
        await withDaemon({ ...ready, daemon: "agent" }, () => withDaemon({ ...ready, daemon: "bgpd" }, ask)),
      ).toBe(true);
      expect(terminal.printed).toEqual(["agent  ready\nbgpd   ready"]);
    }));

  test("ready, and what is amiss all the same", () =>
    inDirectory(async (runDir) => {
      const terminal = recorder();
      const down = "session to 10.0.0.2 (n2) is Active: connection refused";
      const saying = (daemon: string, ...reasons: string[]) => ({
        ...{ daemon, runDir, answers: { "/ready": { ready: true, reasons } } },
      });
      const ask = () => nodeStatus({ runDir, ...asTable }, terminal);
      const isReady = await withDaemon(saying("agent"), () => withDaemon(saying("bgpd", down), ask));
      expect(isReady).toBe(true);
      expect(terminal.printed).toEqual([`agent  ready\nbgpd   ready\n       ${down}`]);
    }));

  test("one waits, one is not running: each says what is wrong", () =>
    inDirectory(async (runDir) => {
      const terminal = recorder();
      const answers = { "/ready": { ready: false, reasons: ["the datastore is not in sync"] } };
      expect(
        await withDaemon({ daemon: "agent", runDir, answers }, () =>
          nodeStatus({ runDir, ...asTable }, terminal),
        ),
      ).toBe(false);
      expect(terminal.printed.join("\n").split("\n")).toEqual([
        "agent  not ready",
        "       the datastore is not in sync",
        "bgpd   not ready",
        expect.stringMatching(/margay bgpd is not running here .*bgpd\.sock\): start it/),
      ]);
    }));

  test("bgpd is not running: its sessions cannot be shown, and why", () =>
    inDirectory(async (runDir) => {
      await expect(peers({ runDir, ...asTable }, recorder())).rejects.toMatchObject({ code: "not-running" });
      await expect(routes({ runDir, ...asTable }, recorder())).rejects.toMatchObject({ code: "not-running" });
    }));

  test("sessions, with the reason where one is down", () =>
    inDirectory(async (runDir) => {
      const up = {
        name: "n2",
        address: "10.0.0.2",
        as: 64512,
        state: "Established",
        since: "2026-01-01T00:00:00.000Z",
        received: 4,
        accepted: 4,
        best: 3,
        sent: 2,
      };
      const down = {
        ...up,
        name: "tor",
        address: "10.0.0.254",
        as: 65000,
        state: "Active",
        received: 0,
        accepted: 0,
        best: 0,
        sent: 0,
        lastError: "connection refused",
      };
      const terminal = recorder();
      const answers = { "/peers": [up, down] };
      await withDaemon({ daemon: "bgpd", runDir, answers }, () => peers({ runDir, ...asTable }, terminal));
      expect(
        terminal.printed
          .join("")
          .split("\n")
          .map((line) => line.split(/ {2,}/)),
      ).toEqual([
        ["PEER", "ADDRESS", "AS", "STATE", "SINCE", "RECEIVED", "ACCEPTED", "BEST", "SENT", "LAST ERROR"],
        ["n2", "10.0.0.2", "64512", "Established", "2026-01-01T00:00:00.000Z", "4", "4", "3", "2", "-"],
        [
          ...["tor", "10.0.0.254", "65000", "Active", "2026-01-01T00:00:00.000Z", "0", "0", "0", "0"],
          "connection refused",
        ],
      ]);
    }));

  test("routes to one prefix, the best marked, the others with the step at which they lost", () =>
    inDirectory(async (runDir) => {
      const route = {
        prefix: "10.244.0.0/26",
        nextHop: "10.0.0.2",
        from: "n2",
        best: true,
        multipath: true,
        asPath: "",
        localPref: 100,
        kernel: "installed",
      };
      const lost = {
        ...route,
        nextHop: "10.0.0.3",
        from: "n3",
        best: false,
        multipath: false,
        localPref: 50,
        lost: "step 1, lower LOCAL_PREF",
      };
      const terminal = recorder();
      const answers = {
        "/routes?prefix=10.244.0.0%2F26": [route, { ...route, from: "n4", best: false }, lost],
      };
      const ask = () => routes({ runDir, prefix: "10.244.0.0/26", ...asTable }, terminal);
      await withDaemon({ daemon: "bgpd", runDir, answers }, ask);
      const lines = terminal.printed.join("").split("\n");
      expect(lines.slice(1).map((line) => line.slice(0, 1))).toEqual(
        ["*", "=", ""].map((mark) => mark || " "),
      );
      expect(lines[3]).toContain("step 1, lower LOCAL_PREF");
      await expect(routes({ runDir, prefix: "10.244.0.1/26", ...asTable }, terminal)).rejects.toMatchObject({
        code: "usage",
        message: expect.stringContaining("the network is 10.244.0.0/26"),
      });
    }));
});
