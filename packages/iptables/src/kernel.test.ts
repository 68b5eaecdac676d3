import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import type { Family } from "@margay/net";
import { reconcile, Tracked } from "@margay/reconcile";
import { noRules, noSets, unshared, until } from "@margay/testing";
import fc from "fast-check";
import {
  type Backend,
  type Chain,
  detectBackend,
  type Hook,
  type IpSet,
  Iptables,
  ipsetTarget,
  type Rule,
} from "./index.ts";
import { edits, splitInput } from "./restore.ts";
import { RestoreStream } from "./restore-stream.ts";

const sh = (script: string): string =>
  execFileSync("sh", ["-ec", `PATH=$PATH:/usr/sbin:/sbin; ${script}`], { encoding: "utf8" });
const words = (text: string): string[] => (text === "" ? [] : text.split(" "));
const rule = (match: string, target: string, id?: string): Rule => ({
  match: words(match),
  target: words(target),
  ...(id !== undefined && { id }),
});
const map = <V>(all: Record<string, V>): Map<string, V> => new Map(Object.entries(all));
/** Every match and target that Margay renders, so that each is known to survive an edit by text. */
const VOCABULARY: readonly Rule[] = [
  rule("", "-j RETURN"),
  rule("-i cali+", "-j DROP", "drop/unknown"),
  rule("-o eth0", "-j ACCEPT"),
  rule("-p tcp -m multiport --dports 80,443,8000:8080", "-j ACCEPT"),
  rule("-p udp -m multiport ! --sports 53", "-j DROP"),
  rule("-p tcp --dport 22", "-j REJECT --reject-with tcp-reset"),
  rule("-m conntrack --ctstate RELATED,ESTABLISHED", "-j ACCEPT"),
  rule("-m conntrack --ctstate INVALID", "-j DROP"),
  rule("-m mark --mark 0x10000/0x10000", "-j RETURN"),
  rule("", "-j MARK --set-xmark 0x10000/0x10000"),
  rule("", "-j MARK --set-xmark 0x0/0x30000", 'a "quoted" id with \\'),
  rule("-m set --match-set margay-s src", "-j ACCEPT"),
  rule("-m set ! --match-set margay-s dst", "-j DROP"),
  rule("-m limit --limit 5/sec --limit-burst 10", "-j ACCEPT"),
  rule("-m addrtype --dst-type LOCAL", "-j ACCEPT"),
  rule("", "-j LOG --log-level 5 --log-prefix calico-packet:"),
  rule("", "-j NFLOG --nflog-group 1 --nflog-prefix DPI0"),
  rule("-p sctp --dport 7", "-j DROP"),
];
const targets = { family: 4 as Family, prefix: "margay-", lockFile: "/run/xtables.lock" };
const save = (backend: Backend, family: Family = 4): string[] =>
  sh(`for t in filter nat mangle raw; do ip${family === 6 ? "6" : ""}tables-${backend}-save -t $t; done`)
    .split("\n")
    .filter((line) => !line.startsWith("#"))
    .map((line) => line.replace(/^(:.*) \[\d+:\d+\]$/, "$1"));
const foreign = (backend: Backend): string[] => save(backend).filter((line) => !line.includes("margay"));
async function wipe(): Promise<void> {
  await noRules();
  await noSets();
}

/** Chains a to d of rules from the vocabulary; each calls the next one that exists. */
function wantedChains(state: Readonly<Record<string, readonly number[]>>): Map<string, Chain> {
  const names = Object.keys(state).sort();
  return new Map(
    names.map((name, i) => {
      const call = names[i + 1] === undefined ? [] : [rule("", `-j margay-${names[i + 1]}`)];
      const rules = (state[name] ?? []).map((n) => VOCABULARY[n] ?? rule("", ""));
      return [`filter/margay-${name}`, { rules: [...rules, ...call, ...rules.slice(0, 1)] }];
    }),
  );
}

unshared(import.meta.url, () => {
  describe.each<Backend>(["nft", "legacy"])("%s", (backend) => {
    const open = () => new Iptables({ ...targets, backend });
    beforeEach(() => void sh("ipset create margay-s hash:net"));
    afterEach(wipe);

    test("chains that call each other, in two tables: put, read back the same, removed without a trace", async () => {
      const before = save(backend);
      const chains = open().chains();
      const wanted = map<Chain>({
        "filter/margay-a": { rules: [rule("-i x", "-j margay-b", "jump"), rule("", "-g margay-c")] },
        "filter/margay-c": { rules: VOCABULARY },
        "filter/margay-b": { rules: [rule("", "-j margay-c"), rule("", "-j margay-c")] },
        "nat/margay-n": { rules: [rule("-s 10.0.0.0/8", "-j MASQUERADE --random-fully")] },
        "raw/margay-r": {
          rules: [
            rule("-m rpfilter --validmark --invert", "-j DROP", "rpf"),
            rule("-p udp --dport 4789", "-j NOTRACK"),
          ],
        },
        "filter/margay-empty": { rules: [] },
      });
      await chains.put(wanted);
      const actual = await chains.list();
      expect([...actual.keys()].sort()).toEqual([...wanted.keys()].sort());
      for (const [key, chain] of wanted)
        expect([key, chains.same(actual.get(key)!, chain)]).toEqual([key, true]); // listed above
      await chains.remove([...actual.keys(), "filter/margay-gone-already"]);
      expect(save(backend)).toEqual(before);
    });

    test("random states A -> B -> C through one target end in exactly C, foreign rules untouched", async () => {
      sh(
        `iptables-${backend} -N KUBE-X; iptables-${backend} -A KUBE-X -s 1.2.3.4 -j DROP; iptables-${backend} -A FORWARD -j KUBE-X`,
      );
      const before = foreign(backend);
      const rules = fc.uniqueArray(fc.nat(VOCABULARY.length - 1), { maxLength: 8 });
      const state = fc.dictionary(fc.constantFrom("a", "b", "c", "d"), rules, {
        maxKeys: 4,
        noNullPrototype: true,
      });
      const property = fc.asyncProperty(fc.array(state, { minLength: 2, maxLength: 4 }), async (states) => {
        const tables = open();
        const [chains, hooks] = [new Tracked(tables.chains()), new Tracked(tables.hooks())];
        for (const s of [...states, {}]) {
          const wanted = wantedChains(s);
          const first = [...wanted.keys()][0]?.slice("filter/".length);
          const hook = first
            ? map<Hook>({ "filter/FORWARD": { rules: [rule("", `-j ${first}`)] } })
            : map<Hook>({});
          await reconcile([chains.to(wanted), hooks.to(hook)]);
          const fresh = open();
          const actual = await fresh.chains().list();
          expect([...actual.keys()].sort()).toEqual([...wanted.keys()].sort());
          for (const [key, chain] of wanted) expect(fresh.chains().same(actual.get(key)!, chain)).toBe(true); // listed above
          expect((await fresh.hooks().list()).size).toBe(hook.size);
          expect(foreign(backend)).toEqual(before);
        }
      });
      await fc.assert(property, { numRuns: 15 });
    });

    test("an edit from a wrong belief ends in the right chain: flushed, changed or deleted behind our back", async () => {
      for (const sabotage of ["-F margay-x", "-D margay-x 2", "-F margay-x && iptables -X margay-x"]) {
        const chains = open().chains();
        await chains.put(map({ "filter/margay-x": { rules: VOCABULARY.slice(0, 5) } }));
        sh(`iptables-${backend} ${sabotage.replace("iptables", `iptables-${backend}`)}`);
        const wanted: Chain = {
          rules: [...VOCABULARY.slice(0, 1), ...VOCABULARY.slice(2, 4), VOCABULARY[7]!],
        }; // there are 18
        await chains.put(map({ "filter/margay-x": wanted }));
        const actual = (await chains.list()).get("filter/margay-x");
        expect([sabotage, actual && chains.same(actual, wanted)]).toEqual([sabotage, true]);
      }
    });

    test("unchanged rules keep their counters while others come and go around them; summed by id", async () => {
      const tables = open();
      const ping = rule("-p icmp", "", "ping");
      await tables.chains().put(map({ "filter/margay-x": { rules: [VOCABULARY[2]!, ping] } })); // there are 18
      await tables
        .hooks()
        .put(map<Hook>({ "filter/OUTPUT": { rules: [rule("", "-j margay-x")], append: [ping] } }));
      sh("ping -qc 3 -i 0.01 127.0.0.1");
      await tables
        .chains()
        .put(map({ "filter/margay-x": { rules: [VOCABULARY[7]!, ping, VOCABULARY[1]!] } })); // there are 18
      expect((await tables.counters()).get("ping")?.packets).toBe(12); // 3 requests, 3 replies, two rules
    });

    test("hooks stay first and last around foreign rules, come back when displaced, and lose duplicates", async () => {
      const iptables = (args: string) => sh(`iptables-${backend} ${args}`);
      iptables("-A FORWARD -s 1.2.3.4 -j DROP");
      const before = save(backend);
      const tables = open();
      const [chains, hooks] = [new Tracked(tables.chains()), new Tracked(tables.hooks())];
      const wanted = map<Hook>({
        "filter/FORWARD": {
          rules: [rule("", "-j margay-F", "first"), rule("-i x", "-j margay-F")],
          append: [rule("", "-j ACCEPT")],
        },
      });
      const pass = async () => {
        const works = [chains.to(map({ "filter/margay-F": { rules: [] } })), hooks.to(wanted)];
        const outcome = await reconcile(works);
        return outcome.find(({ target }) => target === "hooks4")?.put;
      };
      expect(await pass()).toBe(1);
      iptables("-I FORWARD -s 5.6.7.8 -j ACCEPT");
      iptables("-A FORWARD -j margay-F -m comment --comment margay:0123456789abcdef");
      hooks.distrust();
      expect(await pass()).toBe(1);
      hooks.distrust();
      expect(await pass()).toBe(0);
      const order = sh(`iptables-${backend}-save -t filter`)
        .split("\n")
        .filter((line) => line.startsWith("-A FORWARD"));
      expect(order.map((line) => line.replace(/-m comment --comment (".*?"|\S+) /, ""))).toEqual([
        "-A FORWARD -j margay-F",
        "-A FORWARD -i x -j margay-F",
        "-A FORWARD -s 5.6.7.8/32 -j ACCEPT",
        "-A FORWARD -s 1.2.3.4/32 -j DROP",
        "-A FORWARD -j ACCEPT",
      ]);
      await reconcile([chains.to(map({})), hooks.to(map({}))]);
      iptables("-D FORWARD -s 5.6.7.8 -j ACCEPT");
      expect(save(backend)).toEqual(before);
    });

    test("a rule the kernel refuses is named, and nothing of its table has changed", async () => {
      const before = save(backend);
      const bad = map({
        "filter/margay-ok": { rules: [rule("", "-j ACCEPT")] },
        "filter/margay-x": { rules: [rule("-m set --match-set margay-none src", "-j DROP", "rule 7")] },
      });
      await expect(open().chains().put(bad)).rejects.toMatchObject({
        code: "rejected",
        message: expect.stringMatching(
          /rule 7" -m set --match-set margay-none src -j DROP.*Set margay-none doesn't exist/s,
        ),
      });
      expect(save(backend)).toEqual(before);
    });

    test("a rule that only the kernel can refuse is named too, among many", async () => {
      const before = save(backend);
      const rules = Array.from({ length: 60 }, (_, i) =>
        rule(`-s 10.0.${i}.0/24`, "-j margay-ok", `rule ${i}`),
      );
      rules[41] = rule("-p tcp", "-j REJECT", "rule 41"); // of the filter table alone
      const bad = map({ "raw/margay-ok": { rules: [] }, "raw/margay-x": { rules } });
      await expect(open().chains().put(bad)).rejects.toMatchObject({
        code: "rejected",
        facts: { text: expect.stringMatching(/^-A margay-x .*rule 41" -p tcp -j REJECT$/) },
      });
      expect(save(backend)).toEqual(before);
    });

    test("5,000 rules go in whatever the socket buffer, and come back the same", async () => {
      const chains = open().chains();
      const rules = (c: number) =>
        Array.from({ length: 50 }, (_, i) => rule(`-s 10.${c}.${i}.0/24 -p tcp`, "-j ACCEPT"));
      const wanted = map<Chain>(
        Object.fromEntries(
          Array.from({ length: 100 }, (_, c) => [`filter/margay-${c}`, { rules: rules(c) }]),
        ),
      );
      wanted.set("filter/margay-top", {
        rules: Array.from({ length: 100 }, (_, c) => rule(`-i c${c}`, `-j margay-${c}`)),
      });
      await chains.put(wanted);
      const actual = await chains.list();
      for (const [key, chain] of wanted) expect(chains.same(actual.get(key)!, chain)).toBe(true); // put above
    });

    test("a chain put in parts never lets through what it denied before and will deny", async () => {
      sh(`iptables-${backend} -N margay-x; iptables-${backend} -A margay-x -p icmp -j DROP`);
      sh(`iptables-${backend} -A OUTPUT -j margay-x`);
      const others = Array.from({ length: 250 }, (_, i) => rule(`-s 10.0.${i}.0/24`, "-j ACCEPT"));
      const wanted = map<Chain>({ "filter/margay-x": { rules: [...others, rule("-p icmp", "-j DROP")] } });
      const parts = splitInput(edits(new Map(), wanted, "margay:")).split(/(?<=COMMIT\n)/);
      expect(parts.length).toBeGreaterThan(2);
      for (const part of parts) {
        execFileSync(`/usr/sbin/iptables-${backend}-restore`, ["--noflush"], { input: part });
        expect(sh("ping -qc1 -W0.1 127.0.0.1 || true")).toContain(" 0 received");
      }
      expect(sh(`iptables-${backend} -S margay-x`).match(/-j DROP/g)).toHaveLength(1);
    });

    test("the open tool: killed, or gone after a refusal, it is started again; its line numbers stay right", async () => {
      const tables = open();
      const put = (...rules: Rule[]) => tables.chains().put(map({ "filter/margay-x": { rules } }));
      await put(rule("", "-j DROP"));
      sh(`kill -9 $(pgrep -P ${process.pid} ^iptables)`);
      await put(rule("", "-j ACCEPT"));
      const bad = rule("-m set --match-set margay-none src", "-j DROP", "rule 7");
      await expect(put(rule("", "-j ACCEPT"), bad)).rejects.toMatchObject({
        facts: { text: expect.stringContaining("rule 7") },
      });
      await put(rule("", "-j RETURN"));
      expect(sh(`iptables-${backend}-save -t filter`)).toMatch(/-A margay-x .* -j RETURN\nCOMMIT/);
      await tables.close();
    });

    test("one tool for each transaction, where the open one cannot be had", async () => {
      const chains = new Iptables({ ...targets, backend, oneShot: true }).chains();
      const wanted: Chain = { rules: VOCABULARY };
      await chains.put(map({ "filter/margay-x": { rules: VOCABULARY.toReversed() } }));
      await chains.put(map({ "filter/margay-x": wanted }));
      expect(chains.same((await chains.list()).get("filter/margay-x")!, wanted)).toBe(true); // put above
    });

    test("IPv6, in another network namespace", async () => {
      sh("ip netns add other");
      const chains = new Iptables({ ...targets, backend, family: 6, namespace: "/run/netns/other" }).chains();
      await chains.put(map({ "filter/margay-x": { rules: [rule("-s fd00::/8", "-j DROP")] } }));
      expect([...(await chains.list()).keys()]).toEqual(["filter/margay-x"]);
      expect(save(backend, 6).join()).not.toContain("margay");
      sh("ip netns del other");
    });
  });

  test("auto follows whoever is there already; nft where nobody is", async () => {
    expect(await detectBackend()).toBe("nft");
    sh("iptables-legacy -A FORWARD -j ACCEPT");
    const hidden = sh("cat /proc/net/ip6_tables_names 2>&1 || true").includes("Permission denied"); // not root outside
    expect(await detectBackend()).toBe(hidden ? "nft" : "legacy");
    sh("iptables-legacy -F FORWARD; iptables-nft -t mangle -N KUBE-KUBELET-CANARY");
    expect(await new Iptables({ ...targets, backend: "auto" }).backend()).toBe("nft");
    sh("iptables-nft -t mangle -X KUBE-KUBELET-CANARY");
  });

  test("legacy: another program holds the xtables lock: we wait as long as told, say so, and go on after", async () => {
    const tables = new Iptables({ ...targets, backend: "legacy", lockWaitSeconds: 1 });
    const put = (verdict: string) =>
      tables.chains().put(map({ "filter/margay-x": { rules: [rule("", `-j ${verdict}`)] } }));
    await put("DROP");
    const holder = spawn("flock", [targets.lockFile, "sleep", "60"]);
    await until(() => sh(`flock -n ${targets.lockFile} true || echo held`) !== "");
    await expect(put("ACCEPT")).rejects.toMatchObject({ code: "locked" });
    sh(`kill $(pgrep -P ${holder.pid})`);
    await once(holder, "close");
    await put("ACCEPT");
    await wipe();
  });

  test("a tool that does not answer an open stream is run once for each transaction instead", async () => {
    expect(await RestoreStream.open({ tool: "true", args: [] })).toBeUndefined();
    expect(await RestoreStream.open({ tool: "no-such-tool", args: [] })).toBeUndefined();
  });

  test("a table that nft itself made is not written to, for it cannot be read back; others are", async () => {
    sh("nft 'add table ip nat; add chain ip nat x; add rule ip nat x meta mark set jhash ip saddr mod 2'");
    const tables = new Iptables({ ...targets, backend: "nft" });
    await tables.chains().list();
    const put = (key: string) => tables.chains().put(map({ [key]: { rules: [] } }));
    const incompatible = { code: "incompatible", message: expect.stringContaining("table nat") };
    await expect(put("nat/margay-x")).rejects.toMatchObject(incompatible);
    await expect(tables.hooks().put(map({ "nat/OUTPUT": { rules: [] } }))).rejects.toMatchObject(
      incompatible,
    );
    await put("filter/margay-x");
    sh("nft delete table ip nat");
  });

  describe("ipset", () => {
    const set = (type: IpSet["type"], members: string[], family: Family = 4): IpSet => ({
      type,
      family,
      members: new Set(members),
    });
    afterEach(wipe);

    test("random states A -> B through one target end in exactly B; foreign sets untouched", async () => {
      sh("ipset create kube-x hash:ip && ipset add kube-x 1.2.3.4");
      const octet = fc.integer({ min: 0, max: 5 });
      const kinds: Record<string, fc.Arbitrary<IpSet>> = {
        ip: fc.array(octet, { maxLength: 6 }).map((n) =>
          set(
            "hash:ip",
            n.map((o) => `10.0.0.${o}`),
          ),
        ),
        net: fc.array(octet, { maxLength: 6 }).map((n) =>
          set(
            "hash:net",
            n.map((o) => `10.0.0.${o}/${27 + o}`),
          ),
        ),
        any: fc.constantFrom(
          set("hash:net", ["0.0.0.0/0", "10.0.0.0/8"]),
          set("hash:net", ["fd00::/64", "::/0"], 6),
        ),
        port: fc.array(octet, { maxLength: 6 }).map((n) =>
          set(
            "hash:ip,port",
            n.map((o) => `fd00::${o},udp:${o}`),
            6,
          ),
        ),
      };
      const one = fc.oneof(...Object.values(kinds));
      const names = fc.constantFrom("margay-a", "margay-b", "margay-c");
      const state = fc.dictionary(names, one, { noNullPrototype: true });
      const property = fc.asyncProperty(fc.array(state, { minLength: 2, maxLength: 5 }), async (states) => {
        const sets = new Tracked(ipsetTarget({ prefix: "margay-" }));
        for (const s of [...states, {}]) {
          await reconcile([sets.to(map(s))]);
          const fresh = ipsetTarget({ prefix: "margay-" });
          const actual = await fresh.list();
          expect([...actual.keys()].sort()).toEqual(Object.keys(s).sort());
          for (const [name, wanted] of Object.entries(s))
            expect(fresh.same(actual.get(name)!, wanted)).toBe(true); // listed above
        }
      });
      await fc.assert(property, { numRuns: 20 });
      expect(sh("ipset save")).toMatch(/^create kube-x hash:ip .*\nadd kube-x 1.2.3.4\n$/);
    });

    test("a set in use grows past its capacity while the rule keeps pointing at it; then rule and set go", async () => {
      sh(
        "ipset create margay-u hash:ip maxelem 2 && ipset add margay-u 10.0.0.1 && ipset create margay-tmp hash:net",
      );
      const sets = new Tracked(ipsetTarget({ prefix: "margay-" }));
      const chains = new Tracked(new Iptables({ ...targets, backend: "nft" }).chains());
      const members = Array.from({ length: 300 }, (_, i) => `10.0.${i >> 8}.${i & 255}`);
      const use = map({ "filter/margay-x": { rules: [rule("-m set --match-set margay-u src", "-j DROP")] } });
      await reconcile([chains.to(use)]);
      await reconcile([sets.to(map({ "margay-u": set("hash:ip", members) })), chains.to(use)]);
      expect(sh("ipset list margay-u")).toMatch(/References: 1\nNumber of entries: 300\n/);
      await reconcile([sets.to(map({})), chains.to(map({}))]);
      expect(sh("ipset list -n")).toBe("");
    });

    test("a set in use cannot be removed or change its type: the error names it", async () => {
      const sets = ipsetTarget({ prefix: "margay-" });
      await sets.put(map({ "margay-u": set("hash:ip", ["10.0.0.1"]) }));
      sh("iptables-nft -A FORWARD -m set --match-set margay-u src -j DROP");
      const refused = {
        code: "rejected",
        message: expect.stringMatching(/line 1 \(destroy margay-u\).*in use/),
      };
      await expect(sets.remove(["margay-u"])).rejects.toMatchObject(refused);
      await expect(sets.put(map({ "margay-u": set("hash:ip,port", []) }))).rejects.toMatchObject(refused);
    });
  });
});
