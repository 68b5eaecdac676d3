/** Completion as bash asks for it: its script is sourced, a command line half written, and what bash would offer is read. */
import { execFile } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, expect, test } from "@jest/globals";
import { withDaemon } from "./testing/harness.ts";

const dir = mkdtempSync(join(tmpdir(), "margay-completion-"));
afterAll(() => rmSync(dir, { recursive: true }));
const main = fileURLToPath(new URL("../../margay/src/main.ts", import.meta.url));
const program = join(dir, "margay");
writeFileSync(
  program,
  `#!/bin/sh\nexec ${process.execPath} --conditions=margay-source --no-warnings ${main} "$@"\n`,
);
chmodSync(program, 0o755);
const execute = promisify(execFile);
const bash = async (script: string) => {
  const { stdout, stderr } = await execute("bash", ["-c", script], {
    env: { ...process.env, PATH: `${dir}:${process.env.PATH}` },
  });
  return { offered: stdout.split("\n").filter(Boolean), said: stderr };
};
/** What bash offers for the last of these words. */
const complete = (...words: string[]) =>
  bash(`source <(margay completion bash); COMP_WORDS=(margay ${words.map((w) => `"${w}"`).join(" ")})
    COMP_CWORD=${words.length}; _margay_yargs_completions; printf '%s\\n' "\${COMPREPLY[@]}"`);

test("verbs, kinds, choices and this node's peers, and nothing is said beside them", async () => {
  const peers = ["tor", "rack-1"].map((name) => ({ name }));
  await withDaemon({ daemon: "bgpd", runDir: dir, answers: { "/peers": peers } }, async () => {
    const rows = await Promise.all([
      complete("bg"),
      complete("bgp", "re"),
      complete("get", "bgpp"),
      complete("bgp", "--run-dir", dir, "reset", ""),
      complete("bgp", "--run-dir", dir, "peers", "r"),
    ]);
    expect(rows).toEqual(
      [["bgp", "bgpd"], ["refresh", "reset"], ["bgppeers", "bgpp"], ["all", "tor", "rack-1"], ["rack-1"]].map(
        (offered) => ({ offered, said: "" }),
      ),
    );
  });
});

test("zsh has a script of its own", async () => {
  expect((await bash("margay completion zsh")).offered[0]).toBe("#compdef margay");
});
