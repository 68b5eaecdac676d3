import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "@jest/globals";
import { until } from "@margay/testing";
import { type Store, StoreError } from "../store.ts";
import { Syncer, type SyncStatus } from "../syncer.ts";
import { EtcdClient } from "./client.ts";
import { countingProxy } from "./counting-proxy.ts";
import { freePort, type SpawnedEtcd, type SpawnOptions, spawnEtcd } from "./spawn-etcd.ts";
import { etcdStore } from "./store.ts";

const PREFIX = "/margay/v1/";

/** What must be ended after each test, last made first. */
const undo: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

async function etcd(options?: SpawnOptions): Promise<SpawnedEtcd> {
  const spawned = await spawnEtcd(options);
  undo.push(() => spawned.remove());
  return spawned;
}

function storeAt(options: Parameters<typeof etcdStore>[0]): Store {
  const store = etcdStore(options);
  undo.push(() => store.close());
  return store;
}

function follow(store: Store) {
  const world = new Map<string, string>();
  const statuses: SyncStatus[] = [];
  const syncer = new Syncer({
    store,
    prefix: PREFIX,
    onBatch({ updates }) {
      for (const { key, entry } of updates)
        entry === undefined ? world.delete(key) : world.set(key, entry.value);
    },
    onStatus: (status) => void statuses.push(status),
    sleep: (ms, signal) => sleep(ms, undefined, { signal }).catch(() => {}),
  });
  void syncer.start();
  undo.push(() => syncer.stop());
  return { world, statuses };
}

const portOf = ({ endpoint }: SpawnedEtcd) => Number(new URL(endpoint).port);

describe("etcd goes away under load", () => {
  test("kill -9 and restart, twice: no update is lost, and nobody connects more than once a second", async () => {
    const server = await etcd();
    const proxy = await countingProxy(portOf(server));
    undo.push(() => proxy.close());
    const reader = storeAt({ endpoints: [proxy.endpoint] });
    const { world, statuses } = follow(reader);
    const direct = storeAt({ endpoints: [server.endpoint] });
    const written = new Map<string, string>();
    let writing = true;
    let sequence = 0;
    const writer = async (name: string) => {
      for (; writing; await sleep(2)) {
        const key = `${PREFIX}${name}${sequence % 50}`;
        const value = String(sequence++);
        // a failed write may have taken effect; the store itself is the judge at the end
        await direct.put(key, value).catch(() => sleep(50));
      }
    };
    const nosy = async () => {
      for (; writing; await sleep(10)) await reader.get(`${PREFIX}a0`).catch(() => {});
    };
    const load = Promise.all([writer("a"), writer("b"), nosy()]);
    await until(() => world.size > 20);
    await sleep(1000);
    for (const downMs of [1500, 4000]) {
      await server.kill();
      await sleep(downMs);
      await server.start();
      const before = world.size;
      await until(() => statuses.at(-1)?.kind === "connected" && world.size >= before);
      await sleep(1000);
    }
    writing = false;
    await load;
    const { entries } = await direct.list(PREFIX);
    for (const { key, value } of entries) written.set(key, value);
    await until(
      () => world.size === written.size && [...written].every(([key, value]) => world.get(key) === value),
    );
    const gaps = proxy.connects.slice(1).map((at, i) => at - (proxy.connects[i] ?? 0));
    expect(gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length).toBeGreaterThanOrEqual(950);
    expect(Math.min(...gaps)).toBeGreaterThan(500); // the proxy notes a connection when it gets a processor
    expect(statuses.filter(({ kind }) => kind === "connected").length).toBeGreaterThanOrEqual(3);
  });

  test("stopped (SIGSTOP) longer than a call's deadline: calls fail in time, and the watch goes on", async () => {
    const server = await etcd();
    await storeAt({ endpoints: [server.endpoint] }).get(PREFIX); // elections take their time
    const store = storeAt({ endpoints: [server.endpoint], timeoutMs: 2000 });
    const { world } = follow(store);
    await store.put(`${PREFIX}a`, "1");
    await until(() => world.get(`${PREFIX}a`) === "1");
    await server.signal("SIGSTOP");
    const before = performance.now();
    await expect(store.put(`${PREFIX}a`, "2")).rejects.toMatchObject({ code: "unavailable" });
    expect(performance.now() - before).toBeLessThan(20_000);
    await server.signal("SIGCONT");
    // whether etcd still carries out "2", before or even after what comes next, is its own race: why callers must read again
    await store.put(`${PREFIX}b`, "3");
    await until(() => world.get(`${PREFIX}b`) === "3");
  });

  test("history compacted while away: the syncer lists again", async () => {
    const server = await etcd({
      flags: ["--auto-compaction-mode", "revision", "--auto-compaction-retention", "1"],
    });
    const proxy = await countingProxy(portOf(server));
    const direct = storeAt({ endpoints: [server.endpoint] });
    await direct.put(`${PREFIX}gone`, "1");
    const { world, statuses } = follow(storeAt({ endpoints: [proxy.endpoint] }));
    await until(() => world.has(`${PREFIX}gone`));
    const port = Number(new URL(proxy.endpoint).port);
    await proxy.close();
    await direct.delete(`${PREFIX}gone`);
    const last = await direct.put(`${PREFIX}new`, "1");
    execFileSync(
      "etcdctl",
      [
        "--endpoints",
        server.endpoint,
        "--command-timeout=2m",
        "--dial-timeout=2m",
        "compact",
        String(last.revision),
      ],
      {
        env: { ...process.env, ETCDCTL_API: "3" },
        stdio: "ignore",
      },
    );
    const again = await countingProxy(portOf(server), port);
    undo.push(() => again.close());
    await until(() => world.get(`${PREFIX}new`) === "1" && !world.has(`${PREFIX}gone`));
    expect(statuses).toContainEqual(expect.objectContaining({ kind: "disconnected", relist: true }));
  });

  test("another etcd behind the same address, further on than ours: what is known is compared with it, value by value", async () => {
    const [one, other] = [await etcd(), await etcd()];
    const [ours, theirs] = [one, other].map(({ endpoint }) => storeAt({ endpoints: [endpoint] })) as [
      Store,
      Store,
    ]; // two
    const [same] = [await ours.put(`${PREFIX}same`, "ours"), await ours.put(`${PREFIX}gone`, "1")];
    expect((await theirs.put(`${PREFIX}same`, "theirs")).revision).toBe(same.revision);
    for (let i = 0; i < 5; i++) await theirs.put(`${PREFIX}new`, `${i}`);
    const proxy = await countingProxy(portOf(one));
    const { world } = follow(storeAt({ endpoints: [proxy.endpoint] }));
    await until(() => world.has(`${PREFIX}gone`));
    await proxy.close();
    const again = await countingProxy(portOf(other), Number(new URL(proxy.endpoint).port));
    undo.push(() => again.close());
    await theirs.put(`${PREFIX}last`, "1");
    await until(() => world.has(`${PREFIX}last`));
    expect(Object.fromEntries([...world].map(([key, value]) => [key.slice(PREFIX.length), value]))).toEqual({
      same: "theirs",
      new: "4",
      last: "1",
    });
  });

  test("with two endpoints, one of them dead, every call succeeds", async () => {
    const server = await etcd();
    const dead = `http://127.0.0.1:${await freePort()}`;
    const store = storeAt({ endpoints: [dead, server.endpoint] });
    const entry = await store.create(`${PREFIX}a`, "1");
    expect(await store.get(`${PREFIX}a`)).toEqual(entry);
    const { world } = follow(store);
    await until(() => world.has(`${PREFIX}a`));
  });
});

test("of two endpoints one hangs: a write that may have taken effect waits for one deadline, and the next call asks the other", async () => {
  const [hung, other] = [await etcd(), await etcd()];
  await storeAt({ endpoints: [other.endpoint] }).get(PREFIX); // elections take their time
  const store = storeAt({ endpoints: [hung.endpoint, other.endpoint], timeoutMs: 10_000 });
  await store.get(PREFIX);
  await hung.signal("SIGSTOP");
  const before = performance.now();
  await expect(store.create(`${PREFIX}a`, "1")).rejects.toMatchObject({ code: "unavailable" });
  await store.create(`${PREFIX}a`, "1");
  expect(performance.now() - before).toBeLessThan(19_000); // never a second deadline
});

describe("users and passwords", () => {
  const ctl = ({ endpoint }: SpawnedEtcd, ...words: string[]) =>
    execFileSync(
      "etcdctl",
      ["--endpoints", endpoint, "--command-timeout=2m", "--dial-timeout=2m", ...words],
      {
        env: { ...process.env, ETCDCTL_API: "3" },
        stdio: "ignore",
      },
    );

  async function guarded(): Promise<SpawnedEtcd> {
    const server = await etcd();
    ctl(server, "user", "add", "root:top");
    ctl(server, "user", "add", "margay:cat");
    ctl(server, "role", "add", "margay");
    ctl(server, "role", "grant-permission", "margay", "--prefix=true", "readwrite", PREFIX);
    ctl(server, "user", "grant-role", "margay", "margay");
    ctl(server, "user", "grant-role", "root", "root");
    ctl(server, "auth", "enable");
    return server;
  }

  test("tokens die with a restart of etcd: calls and watch log in again by themselves", async () => {
    const server = await guarded();
    const store = storeAt({ endpoints: [server.endpoint], username: "margay", password: "cat" });
    const { world } = follow(store);
    await store.put(`${PREFIX}a`, "1");
    await until(() => world.get(`${PREFIX}a`) === "1");
    await server.kill();
    await server.start();
    await until(() => world.get(`${PREFIX}a`) === "1");
    for (let tries = 0; ; tries++) {
      const failed = await store.put(`${PREFIX}a`, "2").then(
        () => undefined,
        (error: unknown) => error,
      );
      if (failed === undefined) break;
      expect(failed).toMatchObject({ code: "unavailable" });
      if (tries > 100) throw failed;
      await sleep(100);
    }
    await until(() => world.get(`${PREFIX}a`) === "2");
  });

  /** How often etcd was asked to compare a password, which costs it a tenth of a second of computing. */
  async function logins({ endpoint }: SpawnedEtcd): Promise<number> {
    const metrics = await (await fetch(`${endpoint}/metrics`)).text();
    return Number(/^grpc_server_started_total\{grpc_method="Authenticate",.*} (\d+)$/m.exec(metrics)?.[1]);
  }
  test.each([
    ["right", "cat", "fulfilled"],
    ["wrong", "dog", "rejected"],
  ])(
    "two dozen parts of a daemon that begin at once log in once; the password is %s",
    async (_why, password, end) => {
      const server = await guarded();
      const store = storeAt({
        endpoints: [server.endpoint],
        username: "margay",
        password,
        timeoutMs: 30_000,
      });
      const all = await Promise.allSettled(Array.from({ length: 24 }, (_, i) => store.get(`${PREFIX}${i}`)));
      expect([...new Set(all.map(({ status }) => status))]).toEqual([end]);
      expect(await logins(server)).toBe(1);
    },
  );

  test("who is at another endpoint by now does not wait for a log-in at the one that is left", async () => {
    const [hung, server] = [await guarded(), await guarded()];
    const endpoints = [hung.endpoint, server.endpoint];
    const client = new EtcdClient({ endpoints, username: "margay", password: "cat", timeoutMs: 10_000 });
    undo.push(() => client.close());
    await hung.signal("SIGSTOP");
    const ask = () =>
      client.call({ key: PREFIX, idempotent: true }, (etcd) => etcd.put(`${PREFIX}a`).value("1").exec());
    const first = ask();
    client.failed(0, new Error("14 UNAVAILABLE")); // as a watch notices it
    await expect(ask()).resolves.toBeDefined();
    await expect(first).resolves.toBeDefined();
    expect(await logins(server)).toBe(1);
  });

  test("errors say who may not do what, and how to change it", async () => {
    const server = await guarded();
    const { endpoint } = server;
    const message = (store: Store, key: string) =>
      store.get(key).then(
        () => "",
        (error: StoreError) => `${error.code}: ${error.message}`,
      );
    const stranger = storeAt({ endpoints: [endpoint] });
    const mistaken = storeAt({ endpoints: [endpoint], username: "margay", password: "dog" });
    const confined = storeAt({ endpoints: [endpoint], username: "margay", password: "cat" });
    expect(await message(stranger, `${PREFIX}a`)).toContain(
      `unauthorized: etcd ${endpoint}: has authentication enabled: give --etcd-username and --etcd-password`,
    );
    expect(await message(mistaken, `${PREFIX}a`)).toContain(
      `unauthorized: etcd ${endpoint}: refuses user "margay": check --etcd-username and --etcd-password`,
    );
    expect(await message(confined, "/elsewhere")).toContain(
      `denied: etcd ${endpoint}: user "margay" may not use /elsewhere: grant a role`,
    );
    const watching = (async () => {
      for await (const _ of confined.watch("/elsewhere", 1)) throw new Error("was let in");
    })();
    await expect(watching).rejects.toMatchObject({ code: "denied" });
  });

  test("a user name is harmless where etcd has no users", async () => {
    const server = await etcd();
    const store = storeAt({ endpoints: [server.endpoint], username: "margay", password: "cat" });
    expect(await store.get(`${PREFIX}a`)).toBeUndefined();
  });
});

describe("TLS", () => {
  test("both sides show certificates; without ours, or with a foreign authority, the error says what to check", async () => {
    const directory = mkdtempSync(join(tmpdir(), "margay-tls-"));
    undo.push(() => rmSync(directory, { recursive: true, force: true }));
    const at = (name: string) => join(directory, name);
    const openssl = (...words: string[]) =>
      execFileSync("openssl", words, { stdio: "ignore", cwd: directory });
    for (const name of ["ca", "other"])
      openssl(
        ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ca".split(
          " ",
        ),
        "-keyout",
        `${name}.key`,
        "-out",
        `${name}.crt`,
      );
    openssl(
      ..."req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=etcd -addext subjectAltName=IP:127.0.0.1 -keyout pair.key -out pair.csr".split(
        " ",
      ),
    );
    openssl(
      ..."x509 -req -in pair.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy -out pair.crt".split(
        " ",
      ),
    );
    const flags = [
      "--cert-file",
      at("pair.crt"),
      "--key-file",
      at("pair.key"),
      "--trusted-ca-file",
      at("ca.crt"),
      "--client-cert-auth",
    ];
    const server = await etcd({ flags, scheme: "https" });
    const [ca, other, cert, key] = ["ca.crt", "other.crt", "pair.crt", "pair.key"].map((name) =>
      readFileSync(at(name), "utf8"),
    ) as [string, string, string, string];
    const good = storeAt({ endpoints: [server.endpoint], ca, cert, key });
    const entry = await good.create(`${PREFIX}a`, "1");
    expect(await good.get(`${PREFIX}a`)).toEqual(entry);
    const foreign = storeAt({ endpoints: [server.endpoint], ca: other, cert, key });
    await expect(foreign.get(`${PREFIX}a`)).rejects.toThrow(
      /TLS fails: check --etcd-ca, --etcd-cert and --etcd-key/,
    );
    const bare = storeAt({ endpoints: [server.endpoint], ca, timeoutMs: 1500 });
    // by TLS 1.3 etcd refuses us after the handshake, by an alert or by ending the connection
    const code = expect.stringMatching(/^(unauthorized|unavailable)$/);
    await expect(bare.get(`${PREFIX}a`)).rejects.toMatchObject({ code });
  });
});

describe("what people get to read", () => {
  test("nobody listens: the endpoint, the cause, and what to check", async () => {
    const endpoint = `http://127.0.0.1:${await freePort()}`;
    const store = storeAt({ endpoints: [endpoint], timeoutMs: 30_000 });
    const before = performance.now();
    await expect(store.get(`${PREFIX}a`)).rejects.toThrow(
      `etcd ${endpoint}: connection refused: is etcd running there, and is --etcd-endpoints right?`,
    );
    expect(performance.now() - before).toBeLessThan(20_000); // long before a deadline
  });

  test("a value over etcd's limit, and one over grpc's, name the key", async () => {
    const server = await etcd();
    const store = storeAt({ endpoints: [server.endpoint] });
    for (const length of [2_000_000, 3_000_000])
      await expect(store.put(`${PREFIX}big`, "x".repeat(length))).rejects.toMatchObject({
        code: "too-large",
        message: expect.stringContaining(`${PREFIX}big is larger than etcd's --max-request-bytes`),
      });
  });

  test("answers larger than grpc's usual 4 MB arrive", async () => {
    const server = await etcd();
    const store = storeAt({ endpoints: [server.endpoint] });
    for (let i = 0; i < 6; i++) await store.put(`${PREFIX}${i}`, "x".repeat(1_000_000));
    expect((await store.list(PREFIX)).entries.length).toBe(6);
  });

  test("after close every call fails at once", async () => {
    const server = await etcd();
    const store = etcdStore({ endpoints: [server.endpoint] });
    await store.get(`${PREFIX}a`);
    await store.close();
    await expect(store.get(`${PREFIX}a`)).rejects.toBeInstanceOf(StoreError);
  });
});
