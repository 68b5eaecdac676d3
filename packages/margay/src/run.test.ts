/** The command line as a shell has it: a process, its exit code and what it says. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "@jest/globals";

const main = fileURLToPath(new URL("main.ts", import.meta.url));

/** Runs a line of shell in which $margay is the program. */
const shell = (line: string): Promise<{ code: number; stdout: string; stderr: string }> =>
  new Promise((resolve) => {
    const margay = `${process.execPath} --conditions=margay-source --no-warnings ${main}`;
    const child = execFile(
      "bash",
      ["-c", `set -o pipefail; ${line}`],
      { env: { ...process.env, margay } },
      (_error, stdout, stderr) => resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    );
  });

test.each<[why: string, line: string, code: number, stderr: string]>([
  ["a reader that has seen enough is no failure", "$margay version | true", 0, ""],
  [
    "what cannot be written is one",
    "$margay version > /dev/full",
    1,
    "margay: the output cannot be written: ENOSPC: no space left on device, write\n",
  ],
  [
    "of two words that are alike the right one is named",
    "$margay bgp peeers",
    1,
    "margay: Did you mean peers? (margay bgp --help)\n",
  ],
  ["a group's word that is missing", "$margay lab", 1, "margay: which lab command? (margay lab --help)\n"],
  [
    "a number that is none",
    "$margay wait --timeout soon",
    1,
    "margay: timeout must be a number (margay wait --help)\n",
  ],
  [
    "also where it is no flag",
    "$margay ipam split some",
    1,
    "margay: parts must be a number (margay ipam --help)\n",
  ],
  [
    "a certificate that is not there",
    "$margay get nodes --etcd-ca /nowhere",
    1,
    "margay: --etcd-ca /nowhere cannot be read: Error: ENOENT: no such file or directory, open '/nowhere'\n",
  ],
  [
    "a daemon that is not there",
    "$margay bgp peers --run-dir /nowhere",
    1,
    "margay: margay bgpd is not running here (nobody listens on /nowhere/bgpd.sock): start it, or say where its sockets are with --run-dir\n",
  ],
])("%s", async (_why, line, code, stderr) => {
  expect(await shell(line)).toMatchObject({ code, stderr });
});

test("--config of bgpd takes a router's file as it is, besides one of flags", async () => {
  const text = "local: {as: 65000, router-id: 192.0.2.1}";
  const line = `f=$(mktemp); echo '${text}' > $f; $margay bgpd --config $f --check; code=$?; rm $f; exit $code`;
  expect(await shell(line)).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/ is right: 0 neighbors/),
    stderr: "",
  });
});
