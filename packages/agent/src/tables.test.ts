import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { reconcile } from "@margay/reconcile";
import { noRules, noSets, unshared, until } from "@margay/testing";
import { NOBODY } from "./render/cohort.ts";
import { stateWith } from "./render/testing/pods.ts";
import { Tables } from "./tables.ts";

const sh = (script: string): string =>
  execFileSync("sh", ["-ec", `PATH=$PATH:/usr/sbin:/sbin; ${script}`], { encoding: "utf8" });
const DROP = "iptables-nft -P FORWARD DROP";
const state = stateWith([]);

/** `nftablesMode: Auto` on a host where others come to refuse packets at bad moments; a real kernel, the others' own tools. */
unshared(import.meta.url, () => {
  let tables: Tables;
  let asked: string[];
  let failures: unknown[];
  const path = process.env.PATH;
  const PREFIX = mkdtempSync("/run/tools-");

  /** Puts a script in place of a tool, before the others in PATH. */
  function replace(tool: string, script: string): void {
    const file = join(PREFIX, tool);
    writeFileSync(file, `#!/bin/sh\n${script}\n`);
    chmodSync(file, 0o755);
    process.env.PATH = `${PREFIX}:${path}:/usr/sbin:/sbin`;
  }
  const works = () => tables.works(state, () => NOBODY);
  const pass = async () => {
    await reconcile(await works());
    await tables.settled();
  };

  beforeEach(() => {
    [asked, failures] = [[], []];
    tables = new Tables({
      ...{ onRepaired: () => undefined, onChosen: () => undefined },
      onForeign: (why) => asked.push(why),
      onLookFailed: (error) => failures.push(error),
      onError: (error) => {
        throw error;
      },
    });
  });
  afterEach(async () => {
    process.env.PATH = path;
    await tables.close();
    sh("iptables-nft -P FORWARD ACCEPT");
    await noRules();
    await noSets();
  });

  test("refused from the middle of the first pass on: heard, though no rule of ours was there yet", async () => {
    const first = await works();
    expect(tables.kind).toBe("nftables");
    sh(DROP);
    await reconcile(first);
    await tables.settled();
    await until(() => asked.some((why) => why.includes("policy DROP of FORWARD")));
    await pass();
    expect(tables.kind).toBe("iptables-nft");
  });

  test("refused while the host is being looked at, behind the look: looked at once more", async () => {
    replace("ip6tables-nft-save", 'sleep 1; exec /usr/sbin/ip6tables-nft-save "$@"');
    const first = works();
    await new Promise((resolve) => setTimeout(resolve, 500));
    sh(DROP); // the look at IPv4 is over
    await reconcile(await first);
    await tables.settled();
    await until(() => asked.length > 0);
    await pass();
    expect(tables.kind).toBe("iptables-nft");
  });

  test("a look that fails stops no pass, and is told", async () => {
    await pass();
    replace("iptables-nft-save", "exit 1");
    tables.distrust("rules");
    await until(() => failures.length > 0);
    await pass();
    expect(tables.kind).toBe("nftables");
  });

  test("kube-proxy's chains are not looked at; who refuses afterwards is", async () => {
    await pass();
    sh("iptables-nft -N KUBE-SERVICES; iptables-nft -A KUBE-SERVICES -d 10.96.0.9 -j REJECT");
    replace("iptables-nft-save", "exit 1"); // nobody asks it
    for (const n of [1, 2, 3]) sh(`iptables-nft -A KUBE-SERVICES -d 10.96.0.1${n} -j REJECT; sleep 0.5`);
    const looks = failures.length;
    sh(DROP);
    await until(() => failures.length > looks);
    expect(looks).toBeLessThanOrEqual(1); // that the table came to be was news
  });
});
