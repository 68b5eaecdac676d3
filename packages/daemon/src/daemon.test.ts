import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { controlGet } from "./control.ts";

const CHILD = fileURLToPath(new URL("testing/child.ts", import.meta.url));

let runDir = "";
const children: ChildProcess[] = [];
beforeEach(() => {
  runDir = mkdtempSync(join(tmpdir(), "margay-daemon-"));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  rmSync(runDir, { recursive: true, force: true });
});

type Line = Record<string, unknown> & { event?: string; msg?: string };

interface Running {
  readonly child: ChildProcess;
  readonly lines: Line[];
  stderr: string;
  /** Exit code, or the name of the signal. */
  readonly ended: Promise<number | string>;
  event(name: string): Promise<Line>;
}

function start(flags: string[] = [], environment: Record<string, string> = {}): Running {
  const args = [
    "--conditions=margay-source",
    "--no-warnings",
    CHILD,
    "--run-dir",
    runDir,
    "--node",
    "n1",
    ...flags,
  ];
  const child = spawn(process.execPath, args, {
    env: { ...process.env, ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.push(child);
  const lines: Line[] = [];
  let rest = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    const parts = (rest + text).split("\n");
    rest = parts.pop() ?? "";
    for (const part of parts) lines.push(JSON.parse(part) as Line);
  });
  const running: Running = {
    child,
    lines,
    stderr: "",
    ended: once(child, "close").then(([code, signal]) => (code ?? signal) as number | string),
    async event(name) {
      for (;;) {
        const line = lines.find(({ event }) => event === name);
        if (line) return line;
        if (child.exitCode !== null)
          throw new Error(`ended without ${name}: ${JSON.stringify(lines)} ${running.stderr}`);
        await sleep(10);
      }
    },
  };
  child.stderr.setEncoding("utf8").on("data", (text: string) => (running.stderr += text));
  return running;
}

async function fetchHealth(running: Running, path: string): Promise<{ status: number; text: string }> {
  const { port } = await running.event("listening");
  const response = await fetch(`http://127.0.0.1:${String(port)}${path}`);
  return { status: response.status, text: await response.text() };
}

describe("life", () => {
  test("log lines are JSON with event, daemon and node; SIGTERM ends it cleanly with code 0 and removes the socket", async () => {
    const running = start();
    expect(await running.event("in-sync")).toMatchObject({
      level: "info",
      daemon: "agent",
      node: "n1",
      revision: 7,
      msg: "in sync",
    });
    await running.event("started");
    running.child.kill("SIGTERM");
    expect(await running.ended).toBe(0);
    expect(running.lines.at(-2)).toMatchObject({ event: "stopping", signal: "SIGTERM" });
    expect(running.lines.at(-1)).toMatchObject({ event: "stopped", clean: true });
    expect(existsSync(join(runDir, "agent.sock"))).toBe(false);
  });

  test("SIGINT does the same", async () => {
    const running = start();
    await running.event("started");
    running.child.kill("SIGINT");
    expect(await running.ended).toBe(0);
  });

  test("a start that fails is one error line and code 1", async () => {
    const running = start(["--fault", "start"]);
    expect(await running.ended).toBe(1);
    expect(running.lines.find(({ event }) => event === "start-failed")).toMatchObject({
      level: "error",
      msg: "no such bridge: br0",
    });
  });

  test("an uncaught rejection ends the process at once with one clear line", async () => {
    const running = start();
    await running.event("started");
    await controlGet(runDir, "agent", "/crash").catch(() => {});
    expect(await running.ended).toBe(1);
    expect(running.lines.filter(({ level }) => level === "fatal")).toMatchObject([
      { event: "crashed", msg: "invariant broken" },
    ]);
  });

  test("a stop that hangs is cut off after ten seconds, with code 1", async () => {
    const running = start(["--fault", "stop"]);
    await running.event("started");
    running.child.kill("SIGTERM");
    expect(await running.ended).toBe(1);
    expect(running.lines.at(-1)).toMatchObject({ event: "stopped", clean: false });
  });

  test("a second signal does not wait for a hanging stop", async () => {
    const running = start(["--fault", "stop"]);
    await running.event("started");
    running.child.kill("SIGTERM");
    await running.event("stopping");
    running.child.kill("SIGTERM");
    expect(await running.ended).toBe("SIGTERM");
  });

  test("something left open does not keep a stopped daemon alive", async () => {
    const running = start(["--fault", "linger"]);
    await running.event("started");
    running.child.kill("SIGTERM");
    expect(await running.ended).toBe(0);
  });
});

describe("health and metrics", () => {
  test("not ready before its conditions are met, with the reason in the body; alive all the same", async () => {
    const running = start();
    await running.event("started");
    expect(await fetchHealth(running, "/readyz")).toEqual({
      status: 503,
      text: '{"ok":false,"datastore":"first synchronisation is under way"}\n',
    });
    expect(await fetchHealth(running, "/healthz")).toEqual({ status: 200, text: '{"ok":true}\n' });
    await controlGet(runDir, "agent", "/synced");
    expect(await fetchHealth(running, "/readyz")).toEqual({ status: 200, text: '{"ok":true}\n' });
  });

  test("a loop without a sign of life makes it unhealthy", async () => {
    const running = start(["--fault", "dead-loop"]);
    await running.event("started");
    await sleep(10);
    expect(await fetchHealth(running, "/healthz")).toMatchObject({
      status: 503,
      text: expect.stringContaining('"dataplane"'),
    });
  });

  test("the control socket says the same as /readyz, and what is amiss all the same", async () => {
    const running = start(["--fault", "remark"]);
    await running.event("started");
    const remark = "the session to n2 is down";
    const waiting = "datastore: first synchronisation is under way";
    expect(await controlGet(runDir, "agent", "/ready")).toEqual({ ready: false, reasons: [waiting, remark] });
    await controlGet(runDir, "agent", "/synced");
    expect(await controlGet(runDir, "agent", "/ready")).toEqual({ ready: true, reasons: [remark] });
  });

  test("a metric that cannot be read is a failed scrape, not the daemon's end", async () => {
    const running = start(["--fault", "metrics"]);
    await running.event("started");
    for (let scrape = 0; scrape < 2; scrape++)
      expect(await fetchHealth(running, "/metrics")).toEqual({
        status: 500,
        text: "iptables-save: lock not taken\n",
      });
    expect((await fetchHealth(running, "/healthz")).status).toBe(200);
  });

  test("metrics are Prometheus text, other paths are told the right ones", async () => {
    const running = start();
    expect((await fetchHealth(running, "/metrics")).text).toContain(
      "# TYPE process_cpu_seconds_total counter",
    );
    expect(await fetchHealth(running, "/")).toEqual({
      status: 404,
      text: "try /healthz, /readyz or /metrics\n",
    });
  });

  test("a taken port is one line that names the flag", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as { port: number };
    const running = start(["--health-port", String(port)]);
    expect(await running.ended).toBe(1);
    other.close();
    expect(running.lines.find(({ event }) => event === "start-failed")?.msg).toContain(
      `cannot listen on 127.0.0.1 port ${port} (--health-address, --health-port)`,
    );
  });
});

describe("control socket", () => {
  test("answers JSON with the query, is ours alone, and says which paths there are", async () => {
    const running = start();
    await running.event("started");
    expect(await controlGet(runDir, "agent", "/echo?name=n2&all=")).toEqual({ name: "n2", all: "" });
    expect(statSync(join(runDir, "agent.sock")).mode & 0o777).toBe(0o600);
    await expect(controlGet(runDir, "agent", "/nothing")).rejects.toMatchObject({
      code: "refused",
      message: "agent: no GET /nothing",
    });
    await expect(controlGet(runDir, "agent", "/broken")).rejects.toMatchObject({
      code: "refused",
      message: "agent: ipset is missing",
    });
  });

  test("no daemon: what is missing and what to do, whether the file is there or not", async () => {
    const expected = {
      code: "not-running",
      message: expect.stringContaining(
        `margay bgpd is not running here (nobody listens on ${join(runDir, "bgpd.sock")}): start it, or`,
      ),
    };
    await expect(controlGet(runDir, "bgpd", "/peers")).rejects.toMatchObject(expected);
  });

  test("the socket of a killed daemon is stale: the next one replaces it", async () => {
    const killed = start();
    await killed.event("started");
    killed.child.kill("SIGKILL");
    await killed.ended;
    expect(existsSync(join(runDir, "agent.sock"))).toBe(true);
    await expect(controlGet(runDir, "agent", "/echo")).rejects.toMatchObject({ code: "not-running" });
    await start().event("started");
    expect(await controlGet(runDir, "agent", "/echo")).toEqual({});
  });

  test("the socket of a living daemon is not taken from it", async () => {
    await start().event("started");
    const second = start();
    expect(await second.ended).toBe(1);
    expect(second.lines.find(({ event }) => event === "start-failed")?.msg).toContain(
      "is in use: another daemon of this name is running",
    );
    expect(await controlGet(runDir, "agent", "/echo")).toEqual({});
  });
});

describe("flags", () => {
  const optionsOf = async (flags: string[], environment: Record<string, string> = {}) => {
    await start(flags, environment).event("started");
    return (await controlGet(runDir, "agent", "/options")) as Record<string, unknown>;
  };
  const file = (text: string): string => {
    writeFileSync(join(runDir, "config.yaml"), text);
    return join(runDir, "config.yaml");
  };

  test("flag before environment before file before default", async () => {
    const config = file(
      "etcd-endpoints: [http://file:1, http://file:2]\nhealth-address: 127.0.0.3\nlog-level: debug\n",
    );
    const environment = {
      MARGAY_CONFIG: config,
      MARGAY_HEALTH_ADDRESS: "127.0.0.2",
      MARGAY_NODE: "env",
      MARGAY_SERVICE_HOST: "10.0.0.1",
    };
    expect(await optionsOf([], environment)).toMatchObject({
      node: "n1",
      healthAddress: "127.0.0.2",
      etcdEndpoints: ["http://file:1", "http://file:2"],
      logLevel: "debug",
    });
  });

  test("--config works as a flag too", async () => {
    expect(await optionsOf(["--config", file("etcd-endpoints: etcd:2379\n")])).toMatchObject({
      etcdEndpoints: ["http://etcd:2379"],
    });
  });

  test.each<[string, string[], string | undefined, string]>([
    [
      "an endpoint without a port",
      ["--etcd-endpoints", "http://a"],
      undefined,
      '--etcd-endpoints: "http://a" is not http(s)://host:port',
    ],
    [
      "mixed schemes",
      ["--etcd-endpoints", "http://a:1,https://b:1"],
      undefined,
      "http and https cannot be mixed",
    ],
    ["a user without a password", ["--etcd-username", "u"], undefined, "etcd-username -> etcd-password"],
    [
      "a port that is none",
      ["--health-port", "http"],
      undefined,
      "--health-port must be a number from 0 to 65535",
    ],
    ["a typo in a flag", ["--etcd-endpoint", "a:1"], undefined, "etcd-endpoint, etcdEndpoint"],
    ["a typo in the file", [], "etcd-endpoint: a:1\n", "etcd-endpoint, etcdEndpoint"],
    ["a file that is not YAML", [], "a: [\n", "is not YAML"],
    ["a file that is a list", [], "- a\n", "must be a map of flags to values"],
    [
      "a file that is not there",
      ["--config", "/nonexistent/margay.yaml"],
      undefined,
      "--config /nonexistent/margay.yaml cannot be read",
    ],
  ])("%s is refused in one line", async (_why, flags, text, message) => {
    const running = start(text === undefined ? flags : [...flags, "--config", file(text)]);
    expect(await running.ended).toBe(2);
    expect(running.stderr).toContain(message);
  });

  test("a certificate file that is missing or no certificate is named", async () => {
    const running = start(["--etcd-endpoints", "https://a:1", "--etcd-ca", file("x")]);
    expect(await running.ended).toBe(1);
    expect(running.lines.find(({ event }) => event === "start-failed")?.msg).toContain(
      "config.yaml is not a PEM file",
    );
  });
});
