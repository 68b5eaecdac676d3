import { spawnSync } from "node:child_process";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "@jest/globals";

const MARGAY = resolve(fileURLToPath(import.meta.url), "../../packages/margay/dist/margay.mjs");
const UP = `'${process.execPath}' '${MARGAY}' lab up --name e2e-preflight`;

/** What `lab up` says on stderr when run by a shell under these words. */
function refusal(wrapper: string[], before = "true", PATH = process.env.PATH): string {
  const [program = "sh", ...words] = [...wrapper, "/bin/sh", "-c", `${before}; ${UP}`];
  const { status, stderr } = spawnSync(program, words, {
    encoding: "utf8",
    timeout: 20_000,
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
});
