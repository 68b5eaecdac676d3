import { describe, expect, test } from "@jest/globals";
import { chooseBackend } from "./backend.ts";
import { hookEdit, hookFound, sameHook } from "./hook.ts";
import { edits, putInput, removeInput, splitInput } from "./restore.ts";
import { type Chain, type Hook, linesOf, type Rule, shownId } from "./rule.ts";
import { parseSave } from "./save.ts";
import { canonicalMembers, type IpSet, parseSets, sameSet } from "./set.ts";
import { setPut, setRemove } from "./set-restore.ts";
import { failure } from "./tool.ts";
import { joinWords, splitWords } from "./words.ts";

const mark = "margay:";
const accept = (port: number): Rule => ({
  match: ["-p", "tcp", "--dport", `${port}`],
  target: ["-j", "ACCEPT"],
});
const chains = (all: Record<string, readonly Rule[]>): Map<string, Chain> =>
  new Map(Object.entries(all).map(([key, rules]) => [key, { rules }]));
const known = (all: Record<string, readonly Rule[]>) =>
  new Map(Object.entries(all).map(([key, rules]) => [key, linesOf(rules, mark)]));
/** Hashes are opaque: shown as the position at which they first appear. */
const plain = (input: string) => {
  const seen: string[] = [];
  return input.replace(/margay:([\w-]{16})/g, (_, hash: string) => {
    if (!seen.includes(hash)) seen.push(hash);
    return `margay:#${seen.indexOf(hash)}`;
  });
};

describe("restore input", () => {
  test("new chains: all declared before any rule, filter last, ids in the comments", () => {
    const wanted = chains({
      "filter/margay-FORWARD": [
        { match: ["-i", "cali+"], target: ["-j", "margay-from"], id: 'p:default/a "b"' },
      ],
      "filter/margay-from": [accept(80), { match: [], target: ["-j", "DROP"] }],
      "nat/margay-POST": [{ match: ["-s", "10.244.0.0/16"], target: ["-j", "MASQUERADE"] }],
    });
    expect(plain(putInput(edits(new Map(), wanted, mark)))).toBe(`*nat
:margay-POST - [0:0]
-A margay-POST -m comment --comment margay:#0 -s 10.244.0.0/16 -j MASQUERADE
COMMIT
*filter
:margay-FORWARD - [0:0]
:margay-from - [0:0]
-A margay-FORWARD -m comment --comment "margay:#1 p:default/a \\"b\\"" -i cali+ -j margay-from
-A margay-from -m comment --comment margay:#2 -p tcp --dport 80 -j ACCEPT
-A margay-from -m comment --comment margay:#3 -j DROP
COMMIT
`);
  });

  test.each<[string, number[], number[], string]>([
    ["one more at the end is appended, so that the nft backend has nothing to free", [1, 2], [1, 2, 3], "A3"],
    ["one more in the middle goes to its place", [1, 3], [1, 2, 3], "I2:2"],
    ["one more at the front goes to its place", [2, 3], [1, 2, 3], "I1:1"],
    ["one less is named by its whole text", [1, 2, 3], [1, 3], "D2"],
    ["a replaced rule: out first, then in", [1, 2, 3], [1, 9, 3], "D2 I2:9"],
    [
      "exchanged rules: one out first, then in, else the new one would be deleted",
      [1, 2, 3, 4],
      [1, 3, 2, 4],
      "D3 I2:3",
    ],
    [
      "several at once, interleaved: nothing is deleted",
      [2, 4, 6],
      [1, 2, 3, 4, 5, 6, 7],
      "I1:1 I3:3 I5:5 A7",
    ],
    ["reversed: the shortest edit keeps one", [1, 2, 3], [3, 2, 1], "D2 D3 I1:3 I2:2"],
    ["a duplicate is a line of its own", [1, 1, 2], [1, 2], "D1"],
    ["no line in common: rewritten from the (flushing) declaration", [1, 2], [3], ": A3"],
    ["emptied: only the declaration", [1, 2], [], ":"],
    ["nothing to do: no transaction", [1, 2], [1, 2], ""],
  ])("%s", (_why, from, to, expected) => {
    const key = "filter/margay-x";
    const input = putInput(
      edits(known({ [key]: from.map(accept) }), chains({ [key]: to.map(accept) }), mark),
    );
    const short = input
      .split("\n")
      .filter((line) => /^[-:]/.test(line))
      .map((line) => line.replace(/^:.*/, ":").replace(/^-(\w) margay-x (\d*).*--dport (\d+).*/, "$1$2:$3"))
      .map((line) => line.replace(/^([AD]):/, "$1"));
    expect(short.join(" ")).toBe(expected);
  });

  test("too long for one transaction: called chains before callers, each whole, 100 lines a commit", () => {
    const wanted = chains({
      "filter/margay-top": [{ match: [], target: ["-j", "margay-big"] }],
      "filter/margay-low": Array.from({ length: 60 }, (_, i) => accept(i + 1)),
      "filter/margay-next": Array.from({ length: 60 }, (_, i) => accept(i + 1)),
      "filter/margay-big": Array.from({ length: 150 }, (_, i) => accept(i + 1)),
    });
    const commits = splitInput(edits(new Map(), wanted, mark)).split("COMMIT\n");
    expect(commits.map((c) => c.split("\n").length - 2)).toEqual([100, 55, 61, 61, -1]);
    expect(commits[0]).toMatch(/^\*filter\n:margay-big - \[0:0\]\n-A margay-big -j DROP\n/);
    expect(commits[1]).toMatch(
      /\n-D margay-big -j DROP\n:margay-top - \[0:0\]\n-A margay-top .* -j margay-big\n$/,
    );
  });

  test("removal: all flushed, then all deleted, whatever calls what", () => {
    expect(removeInput(["filter/margay-a", "nat/margay-b", "filter/margay-c"])).toBe(
      "*nat\n:margay-b - [0:0]\n-X margay-b\nCOMMIT\n" +
        "*filter\n:margay-a - [0:0]\n:margay-c - [0:0]\n-X margay-a\n-X margay-c\nCOMMIT\n",
    );
  });

  test.each([
    ["a table iptables does not have", "bogus/margay-x", [accept(1)], /bogus/],
    ["a chain name the kernel cannot hold", `filter/margay-${"x".repeat(22)}`, [accept(1)], /of 1 to 28/],
    [
      "a word that would start a line of its own",
      "filter/margay-x",
      [{ match: ["-i", "a\n-F"], target: [] }],
      /line break/,
    ],
  ])("refused before any tool runs: %s", (_why, key, rules, message) => {
    expect(() => putInput(edits(new Map(), chains({ [key]: rules }), mark))).toThrow(message);
  });

  test("an id longer than a comment holds keeps its beginning and ends in a hash; others stay as they are", () => {
    expect(shownId("policy/default.allow|in|0")).toBe("policy/default.allow|in|0");
    const [a, b] = [shownId(`${"x".repeat(300)}a`), shownId(`${"x".repeat(300)}b`)];
    expect([a.length, b.length, a === b, a.slice(0, 214)]).toEqual([231, 231, false, "x".repeat(214)]);
  });
});

describe("read-back", () => {
  const save = `# Generated by iptables-save
*filter
:FORWARD ACCEPT [7:420]
:margay-x - [0:0]
[3:180] -A FORWARD -s 10.0.0.0/8 -m comment --comment "not margay: ours" -j ACCEPT
[5:300] -A margay-x -i cali+ -m comment --comment "margay:0123456789abcdef rule \\"1\\"" -j DROP
-A margay-x -m comment --comment margay:fedcba9876543210 -j RETURN
COMMIT
`;
  test("chains with their rules; only a comment that begins with our mark makes a rule ours", () => {
    const parsed = parseSave(save, mark);
    expect(parsed.get("filter/FORWARD")).toMatchObject({
      builtin: true,
      policy: "ACCEPT",
      rules: [{ counter: { packets: 3, bytes: 180 } }],
    });
    expect(parsed.get("filter/FORWARD")?.rules[0]?.ours).toBeUndefined();
    expect(
      parsed.get("filter/margay-x")?.rules.map(({ ours, counter }) => ({ ...ours, ...counter })),
    ).toEqual([
      { hash: "0123456789abcdef", id: 'rule "1"', packets: 5, bytes: 300 },
      { hash: "fedcba9876543210" },
    ]);
  });

  test.each([[["a", "b c", 'd"e', "f\\g", "", "-j"]], [["!", "10.0.0.0/8"]], [["tcp:80", "a'b", "$(x)"]]])(
    "words survive the quoting: %j",
    (words) => expect(splitWords(joinWords(words))).toEqual(words),
  );
});

describe("hooks", () => {
  const jump: Rule = { match: [], target: ["-j", "margay-FORWARD"] };
  const last: Rule = { match: ["-m", "mark", "--mark", "1"], target: ["-j", "ACCEPT"] };
  const hook: Hook = { rules: [jump], append: [last] };
  const spec = (rule: Rule, salt?: string) => linesOf([rule], mark, salt)[0]?.spec ?? "";
  const text: Record<string, string> = { J: spec(jump), L: spec(last, "append"), F: "-s 1.2.3.4/32 -j DROP" };
  const chain = (order: string) => {
    const rules = [...order].map((letter) => `-A FORWARD ${text[letter]}`).join("\n");
    const found = parseSave(`*filter\n:FORWARD ACCEPT [0:0]\n${rules}\n`, mark).get("filter/FORWARD");
    return found ?? { builtin: true, policy: "ACCEPT", rules: [] };
  };

  test.each([
    ["JL", true, "nothing foreign"],
    ["JFL", true, "ours around the foreign"],
    ["JFFL", true, "ours around the foreign"],
    ["FJL", false, "somebody inserted before us"],
    ["JLF", false, "somebody appended after us"],
    ["JFJL", false, "a duplicate"],
    ["JJFL", false, "a duplicate at the front"],
    ["FJFL", false, "in the middle"],
    ["FL", false, "the jump is gone"],
    ["LFJ", false, "the wrong way round"],
  ])("%s is in place: %s (%s)", (order, expected) => {
    const found = hookFound(chain(order));
    expect(found !== undefined && sameHook(found, hook, mark)).toBe(expected);
  });

  test("a chain without rules of ours is no hook", () => expect(hookFound(chain("FF"))).toBeUndefined());

  test("the edit deletes each of ours by its text, inserts in order at the front, appends at the end", () => {
    const edit = hookEdit("filter/FORWARD", chain("FJLJ"), { rules: [jump, last], append: [last] }, mark);
    expect(edit).toEqual([
      `-D FORWARD ${text.J}`,
      `-D FORWARD ${text.L}`,
      `-D FORWARD ${text.J}`,
      `-I FORWARD ${spec(last)}`,
      `-I FORWARD ${text.J}`,
      `-A FORWARD ${text.L}`,
    ]);
  });
});

describe("failures", () => {
  const input = "*filter\n:margay-a - [0:0]\n-A margay-a -j NOSUCH\n-A margay-a --bogus\nCOMMIT\n";
  test.each([
    ["nft, parse", "unknown option\nError occurred at line: 4\nTry...", "rejected", "-A margay-a --bogus"],
    ["legacy, commit", "iptables-restore: line 3 failed", "rejected", "-A margay-a -j NOSUCH"],
    [
      "nft blames COMMIT for a missing chain: the rule is found",
      "Chain 'NOSUCH' does not exist\nError occurred at line: 5",
      "rejected",
      "-A margay-a -j NOSUCH",
    ],
    ["lock", "Another app is currently holding the xtables lock; ", "locked", undefined],
    [
      "socket buffer",
      "sendmsg() failed: Message too long\niptables-nft-restore: line 421 failed",
      "too-long",
      undefined,
    ],
    [
      "nft, the kernel has no memory: the rule is not to blame",
      "iptables-nft-restore v1.8.9 (nf_tables): \nline 3: RULE_APPEND failed (Cannot allocate memory): rule in chain margay-a",
      "exhausted",
      undefined,
    ],
    [
      "legacy, the same",
      "iptables: Memory allocation problem.\nError occurred at line: 3",
      "exhausted",
      undefined,
    ],
    [
      "nft, a word of a rule that its kernel does not know",
      "line 3: RULE_APPEND failed (Operation not supported): rule in chain margay-a",
      "rejected",
      "-A margay-a -j NOSUCH",
    ],
  ])("%s", (_why, said, code, text) => {
    const error = failure({ tool: "iptables-nft-restore", args: [], input }, { exit: 1, said });
    expect([error.code, error.facts.text]).toEqual([code, text]);
    if (text) expect(error.message).toContain(text);
  });

  test("a missing tool names the Debian package", () => {
    const job = { tool: "ipset", args: [], namespace: "/run/netns/x" };
    expect(failure(job, { exit: 127, said: "nsenter: failed to execute ipset" }).message).toMatch(
      /apt-get install ipset$/,
    );
  });
});

test.each([
  [
    "kubelet's canary decides",
    { nft: "-A a\n", legacy: ":KUBE-KUBELET-CANARY - [0:0]\n", version: "" },
    "legacy",
  ],
  ["else the one with more rules", { nft: "-A a\n-A b\n", legacy: "-A a\n", version: "legacy" }, "nft"],
  ["else the host's default", { nft: "", legacy: "", version: "iptables v1.8.9 (legacy)" }, "legacy"],
  ["else nft", { nft: "", legacy: "", version: "" }, "nft"],
])("backend: %s", (_why, evidence, expected) => expect(chooseBackend(evidence)).toBe(expected));

describe("sets", () => {
  const set = (type: IpSet["type"], members: string[], family: 4 | 6 = 4): IpSet => ({
    type,
    family,
    members: new Set(members),
  });
  const saved = (of: IpSet, maxElements = 1 << 20) => ({ ...of, maxElements });

  test.each<[string, IpSet, string[]]>([
    [
      "hash:net cannot hold the whole address space: two halves",
      set("hash:net", ["0.0.0.0/0"]),
      ["0.0.0.0/1", "128.0.0.0/1"],
    ],
    ["nor the IPv6 one", set("hash:net", ["::/0"], 6), ["::/1", "8000::/1"]],
    [
      "a host is spelled without its length",
      set("hash:net", ["10.0.0.1/32", "10.0.0.7/24"]),
      ["10.0.0.1", "10.0.0.0/24"],
    ],
    [
      "IPv6 in RFC 5952 form",
      set("hash:ip", ["FD00:0::1", "::ffff:1.2.3.4"], 6),
      ["fd00::1", "::ffff:102:304"],
    ],
    [
      "a port without protocol is TCP's",
      set("hash:ip,port", ["10.0.0.1,80", "10.0.0.1,udp:53"]),
      ["10.0.0.1,tcp:80", "10.0.0.1,udp:53"],
    ],
  ])("%s", (_why, of, expected) => expect([...canonicalMembers(of)]).toEqual(expected));

  test.each<[string, IpSet]>([
    ["the other family", set("hash:ip", ["fd00::1"])],
    ["no address", set("hash:net", ["10.0.0/8"])],
    ["a port where none belongs", set("hash:ip", ["10.0.0.1,80"])],
    ["no port where one belongs", set("hash:ip,port", ["10.0.0.1"])],
    ["a port out of range", set("hash:ip,port", ["10.0.0.1,tcp:65536"])],
  ])("refused: %s", (_why, of) => expect(() => canonicalMembers(of)).toThrow(/is no IPv4 member of/));

  const before = new Map([
    ["margay4-a", saved(set("hash:ip", ["10.0.0.1", "10.0.0.2"]))],
    ["margay4-s", saved(set("hash:ip", ["10.0.0.1"]), 2)],
  ]);
  test.each<[string, Record<string, IpSet>, string]>([
    [
      "new",
      { "margay4-n": set("hash:net", ["10.0.0.0/8"]) },
      "create margay4-n hash:net family inet maxelem 1048576\nadd margay4-n 10.0.0.0/8\n",
    ],
    [
      "differences, additions first",
      { "margay4-a": set("hash:ip", ["10.0.0.2", "10.0.0.3"]) },
      "add margay4-a 10.0.0.3\ndel margay4-a 10.0.0.1\n",
    ],
    ["the same", { "margay4-a": set("hash:ip", ["10.0.0.2", "10.0.0.1"]) }, ""],
    [
      "another type",
      { "margay4-a": set("hash:ip,port", []) },
      "destroy margay4-a\ncreate margay4-a hash:ip,port family inet maxelem 1048576\n",
    ],
    [
      "outgrown, counting both old and new while they overlap",
      { "margay4-s": set("hash:ip", ["10.0.0.2", "10.0.0.3"]) },
      "create margay4-tmp hash:ip family inet maxelem 1048576\nadd margay4-tmp 10.0.0.2\nadd margay4-tmp 10.0.0.3\nswap margay4-tmp margay4-s\ndestroy margay4-tmp\n",
    ],
  ])("%s", (_why, wanted, expected) => {
    expect(setPut(before, new Map(Object.entries(wanted)), "margay4-").input).toBe(expected);
  });

  test("removal", () =>
    expect(setRemove(["margay4-a", "margay4-b"])).toBe("destroy margay4-a\ndestroy margay4-b\n"));

  test("a name too long or not ours is refused", () => {
    expect(() => setPut(new Map(), new Map([["kube-a", set("hash:ip", [])]]), "margay4-")).toThrow(/kube-a/);
    expect(() =>
      setPut(new Map(), new Map([[`margay4-${"x".repeat(24)}`, set("hash:ip", [])]]), "margay4-"),
    ).toThrow(/at most 31/);
  });

  test("read-back: only our prefix, spelled canonically", () => {
    const text = `create kube-a hash:ip family inet hashsize 1024 maxelem 65536
create margay6-a hash:ip family inet6 hashsize 1024 maxelem 10 bucketsize 12
add kube-a 10.0.0.1
add margay6-a ::ffff:1.2.3.4
add margay6-a fd00::1
`;
    const sets = parseSets(text, "margay6-");
    expect([...sets]).toEqual([["margay6-a", saved(set("hash:ip", ["::ffff:102:304", "fd00::1"], 6), 10)]]);
    expect(sameSet([...sets.values()][0]!, set("hash:ip", ["fd00:0::1", "::ffff:1.2.3.4"], 6))).toBe(true); // one set
    expect(sameSet([...sets.values()][0]!, set("hash:ip", ["fd00::1"], 6))).toBe(false);
  });
});
