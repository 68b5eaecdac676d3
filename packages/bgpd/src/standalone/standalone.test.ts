/** `margay bgpd --config-file`: what a file says, and two of them talking to each other over TCP. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { DaemonContext } from "@margay/daemon";
import { formatAddress, formatPrefix, parseAddress, parsePrefix } from "@margay/net";
import { unshared } from "@margay/testing";
import { Registry } from "prom-client";
import { eventually } from "../testing/bird.ts";
import { readText } from "./read.ts";
import { startStandalone } from "./start.ts";
import { wantedOf } from "./wanted.ts";

const local = "local: {as: 65000, router-id: 192.0.2.1}";
const interfaces = [{ address: parseAddress("10.0.0.1"), subnet: parsePrefix("10.0.0.0/24") }];
const peer = (text: string) => {
  const wanted = wantedOf(readText(text, "f.yaml"), { interfaces });
  return [...wanted.peers.values()][0]!; // the row gives one
};

unshared(import.meta.url, () => {
  describe("a fault names its path, what is allowed and what was found", () => {
    test.each<[string, string, string]>([
      [
        "a word as AS number",
        "local: {as: x, router-id: 192.0.2.1}",
        'f.yaml: local.as: must be a number, found "x"',
      ],
      ["no router-id", "local: {as: 1}", "f.yaml: local.router-id: is required: text"],
      [
        "a field that does not exist",
        "local: {as: 1, router-id: 192.0.2.1, color: red}",
        "f.yaml: local: has no color; there are as, router-id, cluster-id, listen-addresses, listen-port, addresses",
      ],
      [
        "hold time 2 (RFC 4271 §4.2)",
        `{${local}, hold-time: 2}`,
        'f.yaml: hold-time: must be 3 to 65535 seconds, or 0 for no keepalives, as a number or a duration such as "90s", found 2',
      ],
      [
        "one address twice",
        `{${local}, neighbors: [{address: 10.0.0.2, as: 1}, {address: 10.0.0.2, as: 2}]}`,
        'f.yaml: neighbors[1].address: is given to two neighbors, found "10.0.0.2"',
      ],
      ...["name: a, address: 10.0.0.9", "interface: eth0", "listen-range: 10.1.0.0/16"].map(
        (given): [string, string, string] => [
          `${given} twice`,
          `{${local}, neighbors: [{as: 1, ${given}}, {as: 2, ${given}}]}`,
          `neighbors[1].${given.split(":")[0]}: is given to two neighbors`,
        ],
      ),
      ...["0.0.0.0", "224.0.0.5", "255.255.255.255", "'::'", "ff02::1"].map(
        (nobody): [string, string, string] => [
          `nobody's address ${nobody}`,
          `{${local}, neighbors: [{as: 1, address: ${nobody}}]}`,
          "f.yaml: neighbors[0].address: must be the address of a host",
        ],
      ),
      [
        "an external route reflection client (RFC 4456)",
        `{${local}, neighbors: [{address: 10.0.0.2, as: 65001, rr-client: true}]}`,
        "f.yaml: neighbors[0].rr-client: must be absent: the neighbor's AS is another (RFC 4456)",
      ],
      [
        "a role within an AS, which it is by local-as (RFC 9234)",
        `{${local}, neighbors: [{address: 10.0.0.2, as: 65001, local-as: 65001, role: peer}]}`,
        "f.yaml: neighbors[0].role: must be absent: the neighbor's AS is ours (RFC 9234)",
      ],
      [
        "neither an address nor a network",
        `{${local}, neighbors: [{as: 1}]}`,
        "f.yaml: neighbors[0].address: must be given, or listen-range, or interface alone",
      ],
      [
        "a password from two places",
        `{${local}, neighbors: [{address: 10.0.0.2, as: 1, password: a, password-env: B}]}`,
        'f.yaml: neighbors[0].password-env: must be absent beside password, found "B"',
      ],
      [
        "a limit in a policy's words",
        `{${local}, neighbors: [{address: 10.0.0.2, as: 1, max-prefixes: {ipv4: {max: 1, restart-after: 0}}}]}`,
        "f.yaml: neighbors[0].max-prefixes.ipv4.restart-after: must be 1 to 86400 seconds",
      ],
      [
        "a filter that is not there",
        `{${local}, neighbors: [{address: 10.0.0.2, as: 1, import: {filters: [mine]}}]}`,
        "f.yaml: neighbors[0].import: names filter mine; there are none",
      ],
      [
        "a filter that only JavaScript has",
        `{${local}, filters: {mine: {}}, neighbors: [{address: 10.0.0.2, as: 1, import: {filters: [toString]}}]}`,
        "f.yaml: neighbors[0].import: names filter toString; there are mine",
      ],
    ])("%s", (_why, text, expected) => {
      expect(() => readText(text, "f.yaml")).toThrow(expected);
    });
  });

  test("terms of a neighbor: role, limits, private ASes", () => {
    const terms = `role: customer, role-required: true, extended-next-hop: true, enforce-first-as: true, remove-private-as: replace,
      max-prefixes: {ipv4: {max: 1000, restart-after: 900}, ipv6: {max: 10, warn-percent: 50, warn-only: true}}`;
    const wanted = peer(`{${local}, neighbors: [{address: 10.0.0.2, as: 1, ${terms}}]}`);
    expect([wanted.sessionTerms, wanted.policyTerms]).toEqual([
      { role: "customer", roleRequired: true, extendedNextHop: true },
      {
        prefixLimits: {
          4: { max: 1000, warnPercent: 75, exceeded: { restartSeconds: 900 } },
          6: { max: 10, warnPercent: 50, exceeded: "warn" },
        },
        removePrivateAs: "replace",
        enforceFirstAs: true,
      },
    ]);
    const plain = peer(`{${local}, neighbors: [{address: 10.0.0.2, as: 1}]}`);
    expect([plain.sessionTerms, plain.policyTerms]).toEqual([undefined, undefined]);
  });

  test.each<[string, string, object]>([
    ["in a file", "password-file: /there", { password: "sesame" }],
    ["in the environment", "password-env: THERE", { password: "open" }],
    ["nowhere: down", "password-env: GONE", { problem: "its password: there is none in variable GONE" }],
  ])("password %s", (_why, fields, expected) => {
    const text = `{${local}, neighbors: [{address: 10.0.0.2, as: 1, ${fields}}]}`;
    const passwordIn = ({ file, env }: { file?: string; env?: string }) =>
      file === "/there" ? "sesame" : env === "THERE" ? "open" : undefined;
    const [wanted] = wantedOf(readText(text, "f.yaml"), { interfaces, passwordIn }).peers.values();
    expect(wanted).toMatchObject(expected);
  });

  test("listen-range: neighbors that come by themselves; policies and times in the words of a BGPPeer", () => {
    const statement = "{match: {as-path: [^65001]}, set: {local-pref: 300}, action: Accept}";
    const policy = `{statements: [${statement}], otherwise: Reject}`;
    const text = `{${local}, neighbors: [{listen-range: 10.0.0.0/24, as: 65001, hold-time: 30s, import-policy: ${policy}}]}`;
    const { peers, ranges } = wantedOf(readText(text, "f.yaml"), { interfaces });
    expect(peers.size).toBe(0);
    expect(ranges).toEqual([
      expect.objectContaining({
        range: parsePrefix("10.0.0.0/24"),
        limit: 100,
        template: expect.objectContaining({
          holdTimeSeconds: 30,
          policyTerms: { import: expect.objectContaining({ otherwise: "reject" }) },
          warnings: ["no export policy: nothing is announced (RFC 8212)"],
        }),
      }),
    ]);
  });

  describe("RFC 8212: an external neighbor without policy exchanges no routes", () => {
    const rejecting = { 4: [{ action: "reject" }], 6: [{ action: "reject" }] };
    test.each<[string, string, unknown]>([
      ["external, nothing said", "as: 65001", { import: rejecting, export: rejecting }],
      ["internal, nothing said: all", "as: 65000", undefined],
      ["external, both said", "as: 65001, import: accept, export: accept", undefined],
      [
        "external, only import said",
        "as: 65001, import: accept",
        { import: { 4: [], 6: [] }, export: rejecting },
      ],
      [
        "a policy for an internal one",
        "as: 65000, export: reject",
        { import: { 4: [], 6: [] }, export: rejecting },
      ],
    ])("%s", (_why, fields, filters) => {
      expect(peer(`{${local}, neighbors: [{address: 10.0.0.2, ${fields}}]}`).filters).toEqual(filters);
    });
    test("it is said in words", () => {
      expect(peer(`{${local}, neighbors: [{address: 10.0.0.2, as: 65001}]}`).warnings).toEqual([
        "no import policy: nothing is accepted (RFC 8212)",
        "no export policy: nothing is announced (RFC 8212)",
      ]);
    });
    test("ebgp-policy: accept-all switches it off", () => {
      const text = `{${local}, ebgp-policy: accept-all, neighbors: [{address: 10.0.0.2, as: 65001}]}`;
      expect(peer(text).filters).toBeUndefined();
    });
  });

  test("the router-id is the cluster-id of a reflector, and the address in the peer's subnet is ours", () => {
    const text = `{${local}, neighbors: [{address: 10.0.0.2, as: 65000, rr-client: true}]}`;
    const { self } = wantedOf(readText(text, "f.yaml"), { interfaces });
    expect(self?.clusterId).toBe(0xc0000201);
    expect(formatAddress(peer(text).localAddress!)).toBe("10.0.0.1");
  });

  describe("two speakers", () => {
    const dir = mkdtempSync(join(tmpdir(), "margay-standalone-"));
    const stops: (() => Promise<void>)[] = [];
    const logged: string[] = [];
    const views = new Map<string, (query: object) => unknown>();
    beforeAll(() => {
      execFileSync("sh", ["-c", "for n in 1 2 3; do ip addr add 10.0.0.$n/24 dev lo; done"]);
    });
    afterAll(async () => {
      for (const stop of stops) await stop();
      rmSync(dir, { recursive: true });
    });

    const file = (n: number) => join(dir, `${n}.yaml`);
    const write = (n: number, neighbors: number[], more = "") => {
      const list = neighbors.map(
        (m) => `{address: 10.0.0.${m}, as: 65000, port: 1790, source-address: 10.0.0.${n}}`,
      );
      writeFileSync(
        file(n),
        `{local: {as: 65000, router-id: 10.0.0.${n}, listen-addresses: [10.0.0.${n}], listen-port: 1790,
          addresses: [10.0.0.${n}/24]}, kernel: {install: false}, neighbors: [${list.join()}]${more}}`,
      );
    };
    const start = async (n: number) => {
      const log = (_fields: object, text: string) => void logged.push(text);
      const context = {
        log: { info: log, warn: log, debug: () => {}, error: log },
        health: { ready() {}, live() {} },
        metrics: new Registry(),
        control: {
          get: (path: string, view: (q: object) => unknown) => views.set(`${n}${path}`, view),
          post: (path: string, action: (q: object) => unknown) => views.set(`${n} POST ${path}`, action),
        },
      };
      const { stop } = await startStandalone(context as unknown as DaemonContext, file(n)); // what it uses of it
      stops.push(stop);
    };
    const peers = () =>
      views.get("1/peers")!({}) as { address: string; state: string; counts: { established: number } }[];
    const prefixes = async () =>
      ((await views.get("2/routes")!({})) as { prefix: string }[]).map((r) => r.prefix).sort();

    test("a changed file adds a neighbor and a network without touching the session that is there", async () => {
      write(1, [2], ", networks: [10.9.0.0/16]");
      write(2, [1]);
      write(3, [1]);
      await Promise.all([start(1), start(2), start(3)]);
      await eventually(() => peers().map((p) => p.state), ["Established"]);
      await eventually(prefixes, ["10.9.0.0/16"]);
      write(1, [2, 3], ", networks: [10.9.0.0/16, 10.8.0.0/16]");
      await eventually(() => peers().map((p) => p.state), ["Established", "Established"]);
      await eventually(prefixes, ["10.8.0.0/16", "10.9.0.0/16"]);
      expect(peers().map((p) => p.counts.established)).toEqual([1, 1]);
    });

    test("a broken file changes nothing and is named; SIGHUP reads it again", async () => {
      writeFileSync(file(1), "{local: {as: 0}}");
      await eventually(
        () => logged.some((line) => line.includes("local.as: must be at least 1, found 0")),
        true,
      );
      write(1, [2, 3], ", networks: [10.9.0.0/16, 10.8.0.0/16]");
      const inForce = () => logged.filter((line) => line.endsWith("is in force")).length;
      const before = inForce();
      await eventually(() => inForce() > before, true);
      const unchanged = inForce();
      process.emit("SIGHUP"); // all three read theirs, none of which changed: passwords may be others
      await eventually(inForce, unchanged + 3);
      expect(peers().map((p) => p.state)).toEqual(["Established", "Established"]);
      expect(formatPrefix(parsePrefix((await prefixes())[0]!))).toBe("10.8.0.0/16");
      write(1, [2], ", networks: []");
      await eventually(prefixes, []);
    });
  });
});
