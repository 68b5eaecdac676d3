import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { until } from "@margay/testing";
import { type Call, decodeCall, encodeReply, FrameReader } from "./frame.ts";

const here = fileURLToPath(new URL(".", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "margay-relay-"));
const socket = join(folder, "agent.sock");
const compiled = join(folder, "margay-cni");

/** How each relay is started: as "margay-cni", and under another name. */
const RELAYS = {
  "relay.c": { as: compiled, args: [] as string[], asIpam: join(folder, "margay-ipam"), env: {} },
  "relay.ts": {
    as: process.execPath,
    args: ["--no-warnings", join(here, "relay-main.ts")],
    asIpam: process.execPath,
    env: { MARGAY_ARGV0: "/opt/cni/bin/margay-ipam" },
  },
} as const;

beforeAll(() => {
  execFileSync("gcc", [
    "-static",
    "-Os",
    "-s",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-o",
    compiled,
    join(here, "../relay/relay.c"),
  ]);
  symlinkSync(compiled, RELAYS["relay.c"].asIpam);
});
afterAll(() => rmSync(folder, { recursive: true }));

/** An agent that does with each connection what the test says, and remembers the calls. */
let agent: Server | undefined;
const calls: Call[] = [];
function listen(serve: (socket: Socket) => void): Promise<void> {
  agent = createServer(serve);
  return new Promise((resolve) => agent?.listen(socket, resolve));
}
const replying = (reply: Buffer) => (client: Socket) => {
  const reader = new FrameReader();
  client.on("error", () => undefined); // a relay that gives up is the test's subject
  client.on("data", (chunk: Buffer) => {
    const body = reader.push(chunk);
    if (!body) return;
    calls.push(decodeCall(body));
    client.end(reply);
  });
};
afterEach(async () => {
  calls.length = 0;
  await new Promise((resolve) => (agent ? agent.close(resolve) : resolve(undefined)));
  agent = undefined;
});

interface Run {
  code: number | null;
  stdout: string;
  stderr: string;
}

function run(
  which: keyof typeof RELAYS,
  options: {
    env?: Record<string, string>;
    stdin?: string;
    asIpam?: boolean;
    onStart?: (pid: number) => void;
  },
): Promise<Run> {
  const relay = RELAYS[which];
  const child = spawn(options.asIpam ? relay.asIpam : relay.as, relay.args, {
    env: {
      ...(options.asIpam && relay.env),
      ...(options.env ?? { CNI_COMMAND: "ADD", MARGAY_CNI_SOCKET: socket }),
    },
  });
  options.onStart?.(child.pid ?? 0);
  child.stdin.on("error", () => undefined); // it may have ended before it read
  child.stdin.end(options.stdin ?? '{"cniVersion":"1.0.0","name":"net"}');
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk) => (stdout += chunk));
  child.stderr.on("data", (chunk) => (stderr += chunk));
  return new Promise((resolve) => child.on("close", (code) => resolve({ code, stdout, stderr })));
}

describe.each(["relay.c", "relay.ts"] as const)("%s", (which) => {
  test("passes the CNI variables, its name and standard input, and nothing else", async () => {
    await listen(replying(encodeReply({ exitCode: 0, stdout: "{}" })));
    const env = {
      CNI_COMMAND: "ADD",
      CNI_ARGS: "A=1;B=ü",
      MARGAY_CNI_SOCKET: socket,
      SECRET: "s",
      CNI_PATH: "",
    };
    await run(which, { env, stdin: '{"name":"näme"}' });
    expect(calls.map((call) => ({ ...call, stdin: call.stdin.toString() }))).toEqual([
      {
        env: { CNI_COMMAND: "ADD", CNI_ARGS: "A=1;B=ü", CNI_PATH: "", MARGAY_ARGV0: "margay-cni" },
        stdin: '{"name":"näme"}',
      },
    ]);
  });

  test("says so when it was executed as margay-ipam", async () => {
    await listen(replying(encodeReply({ exitCode: 0, stdout: "" })));
    await run(which, { asIpam: true });
    expect(calls[0]?.env.MARGAY_ARGV0).toBe("margay-ipam");
  });

  test.each<[why: string, reply: { exitCode: number; stdout: string }]>([
    ["success", { exitCode: 0, stdout: '{"ips":[]}\n' }],
    ["success that says nothing", { exitCode: 0, stdout: "" }],
    ["failure", { exitCode: 1, stdout: '{"code":11}' }],
    ["100 KiB", { exitCode: 0, stdout: "x".repeat(100 << 10) }],
  ])("prints the answer and ends with its code: %s", async (_why, reply) => {
    await listen(replying(encodeReply(reply)));
    expect(await run(which, {})).toEqual({ code: reply.exitCode, stdout: reply.stdout, stderr: "" });
  });

  test("stopped and continued while it waits, as by whoever freezes the machine: it goes on waiting", async () => {
    let relay = 0;
    const reply = replying(encodeReply({ exitCode: 0, stdout: "late" }));
    await listen(async (client) => {
      const state = () => readFileSync(`/proc/${relay}/stat`, "utf8").replace(/^.*\) (.).*$/s, "$1");
      for (const [signal, states] of [
        ["SIGSTOP", "T"],
        ["SIGCONT", "RSD"],
      ] as const) {
        process.kill(relay, signal);
        await until(() => states.includes(state()));
      }
      reply(client);
    });
    const onStart = (pid: number) => {
      relay = pid;
    };
    expect(await run(which, { onStart })).toEqual({ code: 0, stdout: "late", stderr: "" });
  });

  test("finds the socket in the configuration", async () => {
    await listen(replying(encodeReply({ exitCode: 0, stdout: "here" })));
    const stdin = `{"name":"n", "socket" :\n "${socket}"}`;
    expect(await run(which, { env: { CNI_COMMAND: "ADD" }, stdin })).toMatchObject({ stdout: "here" });
  });

  test("answers VERSION by itself, also when the agent is down", async () => {
    const { code, stdout } = await run(which, { env: { CNI_COMMAND: "VERSION" } });
    expect([code, JSON.parse(stdout)]).toEqual([
      0,
      { cniVersion: "1.1.0", supportedVersions: ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] },
    ]);
  });

  const garbage = (bytes: number[]) => (client: Socket) =>
    void client
      .on("error", () => undefined)
      .resume()
      .end(Buffer.from(bytes));
  test.each<[why: string, prepare: () => Promise<void>, msg: string]>([
    ["no socket", async () => undefined, `margay: no agent at ${socket}: No such file or directory`],
    [
      "a socket that nobody listens on",
      () => staleSocket(),
      `margay: no agent at ${socket}: Connection refused`,
    ],
    [
      "the agent hangs up",
      () => listen(garbage([])),
      `margay: agent at ${socket}: closed the connection without an answer`,
    ],
    [
      "half an answer",
      () => listen(garbage([0, 0, 0, 9, 0])),
      `margay: agent at ${socket}: closed the connection without an answer`,
    ],
    [
      "an answer of impossible length",
      () => listen(garbage([255, 0, 0, 0])),
      `margay: agent at ${socket}: answer of impossible length`,
    ],
  ])("%s: a CNI error that the runtime retries", async (_why, prepare, msg) => {
    await prepare();
    const { code, stdout, stderr } = await run(which, { stdin: '{"cniVersion":"0.4.0","name":"n"}' });
    rmSync(socket, { force: true });
    expect([code, stderr, JSON.parse(stdout)]).toEqual([
      1,
      "",
      { cniVersion: "0.4.0", code: 11, msg, details: expect.stringContaining("`margay agent`") },
    ]);
  });

  test("a DEL that no agent takes is kept, the same bytes, and succeeds; STATUS is unavailable", async () => {
    const env = { CNI_CONTAINERID: "c1", CNI_IFNAME: "eth0", MARGAY_CNI_SOCKET: socket };
    expect(await run(which, { env: { CNI_COMMAND: "DEL", ...env } })).toEqual({
      code: 0,
      stdout: "",
      stderr: "",
    });
    const spool = join(folder, "cni-spool");
    const [name, ...others] = readdirSync(spool);
    expect([name, others]).toEqual(["c1.eth0.margay-cni.249f5e8f", []]);
    const kept = readFileSync(join(spool, name!)); // just seen
    expect(kept.readUInt32BE()).toBe(kept.length - 4);
    expect(decodeCall(kept.subarray(4))).toEqual({
      env: { CNI_COMMAND: "DEL", CNI_CONTAINERID: "c1", CNI_IFNAME: "eth0", MARGAY_ARGV0: "margay-cni" },
      stdin: Buffer.from('{"cniVersion":"1.0.0","name":"net"}'),
    });
    rmSync(spool, { recursive: true });
    const { stdout } = await run(which, { env: { CNI_COMMAND: "STATUS", ...env } });
    expect(JSON.parse(stdout)).toMatchObject({ code: 50 });
  });

  test("a configuration larger than a frame is refused", async () => {
    const { code, stdout } = await run(which, { stdin: "x".repeat((1 << 20) + 1) });
    expect([code, JSON.parse(stdout)]).toMatchObject([
      1,
      { code: 11, msg: expect.stringContaining("larger than 1 MiB") },
    ]);
  });
});

/** Left by a process that was killed. */
async function staleSocket(): Promise<void> {
  const script = `require("net").createServer().listen(${JSON.stringify(socket)}, () => process.kill(process.pid, "SIGKILL"))`;
  await new Promise((resolve) => spawn(process.execPath, ["-e", script]).on("close", resolve));
}

test("both print the same hint", () => {
  const hint = "Is `margay agent` running on this node, and is that its socket?";
  for (const file of ["../relay/relay.c", "relay.ts"])
    expect(readFileSync(join(here, file), "utf8")).toContain(hint);
});
