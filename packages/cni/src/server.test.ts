import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { encodeCall } from "./frame.ts";
import type { Invocation } from "./invocation.ts";
import { relay } from "./relay.ts";
import { type CniServerOptions, serveCni } from "./server.ts";

const ENV = { CNI_COMMAND: "STATUS", CNI_CONTAINERID: "c1", CNI_NETNS: "/n", CNI_IFNAME: "eth0" };
const STDIN = Buffer.from('{"cniVersion":"1.1.0","name":"n"}');

let folder: string;
let socket: string;
const running: { close(): Promise<void> }[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "margay-cni-"));
  socket = join(folder, "run/cni.sock");
});
afterEach(async () => {
  for (const server of running.splice(0)) await server.close();
  rmSync(folder, { recursive: true });
});

async function serve(options: Partial<CniServerOptions> = {}): Promise<void> {
  const handle = async ({ command }: Invocation) => ({ exitCode: 0, stdout: command });
  running.push(await serveCni({ socket, handle, ...options }));
}
const ask = (env: Record<string, string> = ENV, stdin: Buffer = STDIN) =>
  relay({ env: { ...env, MARGAY_CNI_SOCKET: socket }, stdin, argv0: "margay-cni" });

test("a call is parsed, handled and answered", async () => {
  await serve();
  expect(await ask()).toEqual({ exitCode: 0, stdout: "STATUS" });
});

test("nobody else may connect, whatever the umask", async () => {
  await serve();
  expect(statSync(socket).mode & 0o777).toBe(0o600);
});

test("a socket left by a killed agent is replaced; one of a living agent is not", async () => {
  await serve();
  await expect(serve()).rejects.toThrow(`another process is listening on ${socket}`);
  await running.shift()?.close();
  chmodSync(folder, 0o700);
  await serve();
  expect((await ask()).exitCode).toBe(0);
});

test("what is no CNI call gets a CNI error in its own version", async () => {
  await serve();
  const { exitCode, stdout } = await ask({ ...ENV, CNI_COMMAND: "ADD", CNI_NETNS: "" });
  expect([exitCode, JSON.parse(stdout)]).toMatchObject([1, { cniVersion: "1.1.0", code: 4 }]);
});

test("a client that sends rubbish, or half a call and leaves, costs only its own connection", async () => {
  const bad: unknown[] = [];
  let busy = () => {};
  const slow = new Promise<void>((resolve) => (busy = resolve));
  const handle = async () => {
    await slow;
    return { exitCode: 0, stdout: "served" };
  };
  await serve({ handle, onBadCall: (error) => bad.push(error) });
  const good = ask();
  for (const bytes of [
    Buffer.alloc(8, 255),
    encodeCall({ env: ENV, stdin: STDIN }).subarray(0, 9),
    Buffer.from([0, 0, 0, 1, 65]),
  ]) {
    const client = connect({ path: socket }).on("error", () => undefined);
    client.end(bytes);
    await once(client.resume(), "close");
  }
  busy();
  expect(await good).toEqual({ exitCode: 0, stdout: "served" });
  expect(bad.length).toBeGreaterThanOrEqual(3);
});

test("a handler's own fault ends that call only, and is told", async () => {
  const bad: unknown[] = [];
  const faults = [new Error("a fault"), undefined];
  const handle = async () => {
    const fault = faults.shift();
    if (fault) throw fault;
    return { exitCode: 0, stdout: "served" };
  };
  await serve({ handle, onBadCall: (error) => bad.push(error) });
  expect(JSON.parse((await ask()).stdout)).toMatchObject({ code: 50 }); // of STATUS
  expect(await ask()).toEqual({ exitCode: 0, stdout: "served" });
  expect(String(bad[0])).toBe("Error: a fault");
});

test("a hundred calls at once", async () => {
  await serve();
  const replies = await Promise.all(Array.from({ length: 100 }, () => ask()));
  expect(replies.every(({ exitCode }) => exitCode === 0)).toBe(true);
});
