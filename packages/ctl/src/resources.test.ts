import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "@jest/globals";
import { memoryStore, resources } from "@margay/datastore";
import { apply } from "./apply.ts";
import { type DeleteRequest, references, remove } from "./delete.ts";
import { readResources } from "./documents.ts";
import { type GetRequest, get } from "./get.ts";
import { inDirectory, located, recorder } from "./testing/harness.ts";

const pool = (name: string, cidr: string, more: object = {}) => ({
  kind: "IPPool",
  metadata: { name },
  spec: { cidr, ...more },
});
const node = (name: string) => ({
  kind: "Node",
  metadata: { name },
  spec: { bgp: { ipv4Address: "10.0.0.1/24" } },
});
const policy = (name: string, namespace: string) => ({
  kind: "NetworkPolicy",
  metadata: { name, namespace },
  spec: { order: 5 },
});
const asTable = { output: "table" } as const;

async function storeWith(...documents: object[]) {
  const store = memoryStore();
  await apply(store, located(...documents), asTable, recorder());
  return store;
}

describe("get", () => {
  const request: GetRequest = {
    kind: "ippools",
    namespace: "default",
    allNamespaces: false,
    output: "table",
  };

  test.each<[string, Partial<GetRequest>, string]>([
    [
      "a table, by name",
      {},
      "NAME  CIDR           SELECTOR\na     10.0.0.0/24    all()\nb     fd00::/120     all()",
    ],
    ["one only", { name: "a" }, "NAME  CIDR         SELECTOR\na     10.0.0.0/24  all()"],
    ["names", { output: "name" }, "ippool/a\nippool/b"],
    ["namespaced kinds of one namespace", { kind: "np", namespace: "shop" }, "NAME  TIER\nweb   default"],
    [
      "of all",
      { kind: "np", allNamespaces: true },
      "NAMESPACE  NAME  TIER\nbank       api   default\nshop       web   default",
    ],
    [
      "all columns; what is not set is -",
      { kind: "node", output: "wide" },
      "NAME  ASN  IPV4         IPV6\nn1    -    10.0.0.1/24  -",
    ],
  ])("%s", async (_why, more, expected) => {
    const store = await storeWith(
      pool("a", "10.0.0.0/24"),
      pool("b", "fd00::/120"),
      node("n1"),
      policy("web", "shop"),
      policy("api", "bank"),
    );
    const terminal = recorder();
    await get(store, { ...request, ...more }, terminal);
    expect(terminal.printed.map(squeeze)).toEqual([squeeze(expected)]);
  });

  /** Columns apart by two spaces at least: their exact width is not the point. */
  const squeeze = (text: string) => text.replaceAll(/ {2,}/g, "  ");

  test.each(["yaml", "json"] as const)("%s can be applied again", async (output) => {
    const store = await storeWith(pool("a", "10.0.0.0/24"), pool("b", "10.0.1.0/24"));
    const terminal = recorder();
    await get(store, { ...request, output }, terminal);
    await inDirectory(async (directory) => {
      writeFileSync(join(directory, `f.${output}`), terminal.printed.join("\n"));
      await apply(store, readResources([directory], recorder()), asTable, recorder());
    });
    expect((await resources(store, "IPPool").list()).map(({ metadata }) => metadata.name)).toEqual([
      "a",
      "b",
    ]);
  });

  test.each(["table", "wide", "yaml", "name"] as const)(
    "nothing found is a remark, not a result (%s)",
    async (output) => {
      const terminal = recorder();
      await get(memoryStore(), { ...request, output, kind: "np" }, terminal);
      expect(terminal).toMatchObject({
        printed: [],
        warned: ["no networkpolicies in namespace default (see -n and -A)"],
      });
    },
  );

  test.each<[string, Partial<GetRequest>, string, RegExp]>([
    ["an unknown kind", { kind: "secret" }, "unknown-kind", /there is no kind "secret"; .*\n.*nodes, no\n/],
    [
      "a kind misspelt",
      { kind: "IPPol" },
      "unknown-kind",
      /^there is no kind "IPPol", did you mean .*ippools.*\? kinds/,
    ],
    [
      "a name misspelt",
      { name: "defualt-ipv4" },
      "not-found",
      /^IPPool defualt-ipv4 does not exist, did you mean default-ipv4\?$/,
    ],
    ["an unknown name", { name: "x" }, "not-found", /^IPPool x does not exist$/],
    [
      "a name in another namespace",
      { kind: "np", name: "web" },
      "not-found",
      /does not exist in namespace default/,
    ],
    [
      "a name in all namespaces",
      { kind: "np", name: "web", allNamespaces: true },
      "usage",
      /exclude each other/,
    ],
  ])("%s is refused", async (_why, more, code, message) => {
    const store = await storeWith(pool("default-ipv4", "10.0.0.0/24"));
    await expect(get(store, { ...request, ...more }, recorder())).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  test("a corrupt value hides nothing else", async () => {
    const store = await storeWith(pool("a", "10.0.0.0/24"));
    await store.put("/margay/v1/ippools/broken", "{");
    const terminal = recorder();
    await get(store, { ...request, output: "name" }, terminal);
    expect(terminal.printed).toEqual(["ippool/a"]);
    expect(terminal.warned).toEqual([expect.stringContaining("/margay/v1/ippools/broken")]);
  });
});

describe("apply", () => {
  test("says what was created, changed and left", async () => {
    const store = await storeWith(pool("a", "10.0.0.0/24"), node("n1"));
    const terminal = recorder();
    await apply(
      store,
      located(pool("a", "10.0.0.0/24", { natOutgoing: true }), node("n1"), node("n2")),
      asTable,
      terminal,
    );
    expect(terminal.printed).toEqual(["ippool/a configured", "node/n1 unchanged", "node/n2 created"]);
  });

  test("as JSON for programs", async () => {
    const terminal = recorder();
    await apply(memoryStore(), located(policy("web", "shop")), { output: "json" }, terminal);
    expect(JSON.parse(terminal.printed.join(""))).toEqual([
      { kind: "NetworkPolicy", namespace: "shop", name: "web", outcome: "created" },
    ]);
  });

  test.each<[string, object[], object[], RegExp]>([
    [
      "a pool that overlaps one in the store",
      [pool("a", "10.0.0.0/16")],
      [pool("b", "10.0.1.0/24")],
      /f:1: IPPool b: spec.cidr: must not overlap another pool, found 10.0.1.0\/24; pool a has 10.0.0.0\/16/,
    ],
    [
      "or one of the same file",
      [],
      [pool("a", "10.0.0.0/16"), pool("b", "10.0.1.0/24")],
      /f:2: IPPool b: spec.cidr: must not overlap/,
    ],
    [
      "a pool's CIDR changes",
      [pool("a", "10.0.0.0/16")],
      [pool("a", "10.1.0.0/16")],
      /f:1: IPPool a: spec.cidr: may not change, is 10.0.0.0\/16/,
    ],
    [
      "a pool's block size changes",
      [pool("a", "10.0.0.0/16")],
      [pool("a", "10.0.0.0/16", { blockSize: 28 })],
      /spec.blockSize: may not change, is 26, found 28/,
    ],
  ])("%s: nothing is written", async (_why, existing, documents, message) => {
    const store = await storeWith(...existing);
    const before = store.revision;
    await expect(apply(store, located(...documents), asTable, recorder())).rejects.toThrow(message);
    expect(store.revision).toBe(before);
  });

  test("a write fails midway: it says what was applied and what was not", async () => {
    const store = memoryStore();
    store.failNext({ afterWrites: 1, when: "before" });
    const terminal = recorder();
    const applying = apply(store, located(node("n1"), node("n2"), node("n3")), asTable, terminal);
    await expect(applying).rejects.toMatchObject({
      code: "incomplete",
      message: expect.stringMatching(
        /^f:2: node\/n2 was not applied: .*\napplied before it: node\/n1\nnot applied: node\/n3\n/,
      ),
    });
    expect(terminal.printed).toEqual(["node/n1 created"]);
  });
});

describe("reading files", () => {
  test("one invalid document of many refuses all, with file, line, field and what is allowed", async () => {
    await inDirectory((directory) => {
      const good = "apiVersion: margay.dev/v1\nkind: Tier\nmetadata: {name: t}\n";
      writeFileSync(join(directory, "a.yaml"), `${good}---\n${good.replace("t}", "T}")}`);
      writeFileSync(join(directory, "b.yml"), "{");
      writeFileSync(join(directory, "notes.txt"), "no resource");
      expect(() => readResources([directory], recorder())).toThrow(
        expect.objectContaining({
          code: "invalid",
          message: expect.stringMatching(
            /^2 of 3 documents are invalid; nothing was changed:\n.*a\.yaml:5: Tier T: metadata\.name: must be a DNS label.*\n.*b\.yml:1: no YAML/,
          ),
        }),
      );
    });
  });

  test("a directory is read in order of name, and not below", async () => {
    await inDirectory((directory) => {
      mkdirSync(join(directory, "below"));
      writeFileSync(join(directory, "below", "c.yaml"), "{");
      for (const name of ["b", "a"])
        writeFileSync(
          join(directory, `${name}.yaml`),
          `{apiVersion: v1, kind: Namespace, metadata: {name: ${name}}}`,
        );
      expect(readResources([directory], recorder()).map(({ resource }) => resource.metadata.name)).toEqual([
        "kns.a",
        "kns.b",
      ]);
    });
  });

  test("unknown fields are warned of with file and line", async () => {
    await inDirectory((directory) => {
      const file = join(directory, "a.yaml");
      writeFileSync(file, "{apiVersion: margay.dev/v1, kind: Tier, metadata: {name: t}, spec: {ordre: 5}}");
      const terminal = recorder();
      readResources([file], terminal);
      expect(terminal.warned).toEqual([`${file}:1: spec.ordre: unknown field, kept but without effect`]);
    });
  });

  test.each<[string, string, string]>([
    ["a file that is not there", "nowhere.yaml", "unreadable"],
    ["a directory without files", ".", "usage"],
  ])("%s", async (_why, path, code) => {
    await inDirectory((directory) => {
      expect(() => readResources([join(directory, path)], recorder())).toThrow(
        expect.objectContaining({ code }),
      );
    });
  });
});

describe("delete", () => {
  const request: DeleteRequest = { force: false, ignoreNotFound: false, output: "table" };
  const block = {
    kind: "IPAMBlock",
    metadata: { name: "10.0.0.0-30" },
    spec: {
      ...{
        cidr: "10.0.0.0/30",
        affinity: "host:n1",
        affinityClaimTime: "2026-01-01T00:00:00Z",
        sequenceNumber: 1,
      },
      ...{ allocations: { "0": { handle: "h", sequence: 0, attributes: {} } }, unallocated: [1, 2, 3] },
    },
  };

  test("what is there is deleted; what is not is named at the end", async () => {
    const store = await storeWith(policy("web", "shop"), policy("api", "shop"));
    const terminal = recorder();
    const removing = remove(store, references("np", ["web", "gone", "api"], "shop"), request, terminal);
    await expect(removing).rejects.toMatchObject({
      code: "not-found",
      message: "not found: networkpolicy/shop/gone",
    });
    expect(terminal.printed).toEqual(["networkpolicy/shop/web deleted", "networkpolicy/shop/api deleted"]);
    expect(await resources(store, "NetworkPolicy").list()).toEqual([]);
  });

  test("or counts as deleted", async () => {
    await remove(
      memoryStore(),
      references("pool", ["a"], "default"),
      { ...request, ignoreNotFound: true },
      recorder(),
    );
  });

  test.each<[string, object[], [string, string], RegExp]>([
    [
      "a pool whose addresses are in use",
      [pool("a", "10.0.0.0/24"), block],
      ["pool", "a"],
      /ippool\/a: 1 of its addresses are in use; set spec.disabled: true/,
    ],
    [
      "a tier that holds policies",
      [policy("web", "shop")],
      ["tier", "default"],
      /tier\/default: holds 1 policies \(networkpolicy\/shop\/web\)/,
    ],
  ])("%s is kept, unless forced", async (_why, documents, [kind, name], message) => {
    const store = await storeWith(...documents, {
      kind: "Tier",
      metadata: { name: "default" },
      spec: { order: 1_000_000 },
    });
    const targets = references(kind, [name], "default");
    await expect(remove(store, targets, request, recorder())).rejects.toMatchObject({
      code: "refused",
      message: expect.stringMatching(message),
    });
    const terminal = recorder();
    await remove(store, targets, { ...request, force: true }, terminal);
    expect(terminal.printed).toEqual([expect.stringMatching(/ deleted$/)]);
  });

  test("a pool takes its empty blocks with it; blocks in use keep their owner", async () => {
    const empty = {
      kind: "IPAMBlock",
      metadata: { name: "10.0.0.4-30" },
      spec: { ...block.spec, cidr: "10.0.0.4/30", allocations: {}, unallocated: [0, 1, 2, 3] },
    };
    const affinity = (cidr: string) => ({
      kind: "BlockAffinity",
      metadata: { name: `n1-${cidr.replace("/", "-")}` },
      spec: { state: "confirmed", node: "n1", cidr },
    });
    const store = await storeWith(
      pool("a", "10.0.0.0/24"),
      block,
      affinity("10.0.0.0/30"),
      empty,
      affinity("10.0.0.4/30"),
    );
    await remove(store, references("pool", ["a"], "default"), { ...request, force: true }, recorder());
    const left = [
      ...(await resources(store, "IPAMBlock").list()),
      ...(await resources(store, "BlockAffinity").list()),
    ];
    expect(left.map(({ metadata }) => metadata.name)).toEqual(["10.0.0.0-30", "n1-10.0.0.0-30"]);
  });

  test("a failure midway says what was deleted", async () => {
    const store = await storeWith(node("n1"), node("n2"));
    store.failNext({ afterWrites: 1, when: "before" });
    await expect(
      remove(store, references("no", ["n1", "n2"], "default"), request, recorder()),
    ).rejects.toMatchObject({
      code: "incomplete",
      message: expect.stringMatching(/^node\/n2 was not deleted: .*\ndeleted before it: n1$/),
    });
  });
});
