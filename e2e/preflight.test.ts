import { execFileSync, spawnSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "@jest/globals";
import { scratch } from "@margay/testing";

const MARGAY = resolve(fileURLToPath(import.meta.url), "../../packages/margay/dist/margay.mjs");
const UP = `exec '${process.execPath}' '${MARGAY}' lab up --name e2e-preflight`;

/** What `lab up` says on stderr when run by a shell under these words. */
function refusal(wrapper: string[], before = "true", PATH = process.env.PATH): string {
  const [program = "sh", ...words] = [...wrapper, "/bin/sh", "-c", `${before}; ${UP}`];
  const { status, stderr } = spawnSync(program, words, {
    encoding: "utf8",
    timeout: 880_000,
    env: { ...process.env, PATH },
  });
  expect(status).toBe(1);
  return stderr;
}

/** A user namespace of its own in which no further one may be made, without the capability to make others. */
const CAGE = [
  "unshare",
  "--user",
  "--map-root-user",
  "/bin/sh",
  "-c",
  'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"',
  "sh",
];
/** Somebody who is not root, in the last user namespace that there may be. */
const USER = [
  "unshare",
  "--user",
  "--map-root-user",
  "/bin/sh",
  "-c",
  'echo 1 > /proc/sys/user/max_user_namespaces; exec unshare --user --map-user=1000 --map-group=1000 "$@"',
  "sh",
];
/** A container without --privileged: /proc/sys is read-only, and no other /proc can be mounted. */
const READ_ONLY = [
  "unshare",
  "--mount",
  "/bin/sh",
  "-c",
  'mount -n --bind /proc/sys /proc/sys; mount -n -o remount,ro,bind /proc/sys; exec unshare --user --map-root-user --mount "$@"',
  "sh",
];
const NO_ADMIN = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"];

describe("what is missing is said in one line, with what to do", () => {
  test("programs", () => {
    expect(refusal([], "true", "/nowhere")).toMatch(
      /^margay: not found: unshare, .*etcd.*; as root: apt-get install -y .*etcd-server.*\n$/,
    );
  });

  test("namespaces, as root without CAP_SYS_ADMIN", () => {
    expect(refusal([...CAGE, ...NO_ADMIN])).toMatch(
      /^margay: root may not make namespaces here \(no CAP_SYS_ADMIN\): .*--privileged .*\n$/,
    );
  });

  test("namespaces, as a user where none may make them", () => {
    expect(refusal(USER)).toMatch(
      /^margay: not root, and user namespaces are refused: run as root, or allow them \(sysctl kernel\.unprivileged_userns_clone=1 .*\n$/,
    );
  });

  test("a /proc/sys that can be written", () => {
    expect(refusal(READ_ONLY)).toMatch(
      /^margay: \/proc\/sys is read-only: a container needs --privileged .*\n$/,
    );
  });

  test.each([
    ["veth", "ip", "the kernel has no veth: modprobe veth, or CONFIG_VETH"],
    ["bridge", "ip", "the kernel has no bridge: modprobe bridge, or CONFIG_BRIDGE"],
    ["hash:ip", "ipset", "the kernel has no ipset: modprobe ip_set ip_set_hash_ip"],
  ])("a kernel with %s, through a program that says so", (missing, program, words) => {
    const folder = scratch(tmpdir(), "preflight");
    const real = execFileSync("sh", ["-c", `command -v ${program}`], { encoding: "utf8" }).trim();
    const refuses = `case "$*" in *${missing}*) echo "Unknown device type." >&2; exit 2;; esac; exec ${real} "$@"`;
    writeFileSync(join(folder, program), `#!/bin/sh\n${refuses}\n`, { mode: 0o755 });
    try {
      expect(refusal([], "true", `${folder}:${process.env.PATH}`)).toBe(
        `margay: ${words} (Unknown device type.)\n`,
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
