/**
 * What docs/guide/bgp.md says, run: the BGPPeer of *Top-of-rack routers* on our side, its FRR and BIRD snippets on the other; then
 * what an operator says to a session, read there. The verdict is the router's own tables and words.
 */
import { readFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { effective, parse, parseFile } from "@margay/api";
import { parsePrefix } from "@margay/net";
import { unsharedWithUsers } from "@margay/testing";
import { Registry } from "prom-client";
import { Engine } from "./engine.ts";
import { bgpdMetrics } from "./metrics.ts";
import { operate } from "./operate.ts";
import { selfOf, wantedPeers } from "./peers.ts";
import { Bird, eventually, kernelRoutes, run, wire } from "./testing/bird.ts";
import { Frr, frrProgram } from "./testing/frr.ts";
import { lacking } from "./testing/others.ts";
import { quiet } from "./testing/speakers.ts";

const guide = readFileSync(new URL("../../../docs/guide/bgp.md", import.meta.url), "utf8");
/** The block of code that follows a line. */
function snippet(line: string): string {
  const [, text] = new RegExp(`\\n${line}\\n\\n\`\`\`\\w*\\n([\\s\\S]*?)\`\`\``).exec(guide) ?? [];
  if (text === undefined) throw new Error(`the guide has no code after "${line}"`);
  return text;
}
const section = "## Top-of-rack routers";
const ours = parseFile(snippet(section), "guide").map(({ resource }) => resource);
const document = (kind: string, name: string, spec: object) =>
  parse({ apiVersion: "margay.dev/v1", kind, metadata: { name }, spec }).resource;

test("vendors whose words are not run are marked so", () => {
  for (const vendor of ["Arista EOS", "Cisco IOS XE", "Junos"])
    expect(guide).toMatch(new RegExp(`^${vendor}, not run[.;]`, "m"));
});

unsharedWithUsers(import.meta.url, () => {
  const inputs = {
    ...{ self: "n1", filters: [], endpoints: [], peers: ours as never, secret: () => "sesame" }, // the document's are BGPPeers
    nodes: [
      parse({
        ...{ apiVersion: "margay.dev/v1", kind: "Node", metadata: { name: "n1", labels: { rack: "1" } } },
        spec: { bgp: { ipv4Address: "172.20.0.11/24", ipv6Address: "fd00:172:20::11/64" } },
      }).resource as never, // a Node
    ],
    settings: effective("BGPConfiguration", [document("BGPConfiguration", "default", {}) as never], "n1"),
  };
  let engine: Engine;
  const registry = new Registry();
  const peer = () => [...engine.speaker.peers.values()][0];
  const state = () => peer()?.session.state;
  const metric = async (name: string) =>
    (await registry.getSingleMetric(`margay_bgp_${name}`)?.get())?.values.map(({ value }) => value);

  beforeAll(async () => {
    wire("tor");
    engine = await Engine.open({ log: quiet, connectRetrySeconds: 0.5, idleHoldSeconds: 0.2 });
    bgpdMetrics(registry, engine);
    engine.apply({
      ...{ self: selfOf(inputs), peers: wantedPeers(inputs), isExported: () => true, exportKey: "all" },
      // The second is no pod's, and the router takes it for none.
      origins: { blocks: ["10.244.1.0/26", "192.168.7.0/24"].map((text) => parsePrefix(text)), borrowed: [] },
    });
  });
  afterEach(() => void operate(engine.speaker, "start", { peer: "all" }));
  afterAll(() => engine.stop());

  describe("BIRD 2 as the guide has it", () => {
    const bird = new Bird("tor");
    const around = `log "/run/bird.log" all; router id 172.20.0.2; protocol device {}
      protocol static { ipv4; route 0.0.0.0/0 blackhole; }\n`;
    afterAll(() => bird.remove());

    test("the session is up, pods are taken and nothing else, the default route comes", async () => {
      bird.start(around + snippet("BIRD 2:"));
      await eventually(state, "Established");
      await eventually(
        () => bird.control("show route protocol node1").match(/^\S+\/\d+/gm),
        ["10.244.1.0/26"],
      );
      await eventually(kernelRoutes, ["default via 172.20.0.2 dev eth0 metric 1024"]);
    });

    test("metrics: what they count is what BIRD and the kernel have", async () => {
      const values = async () =>
        Object.fromEntries(
          await Promise.all(
            [
              "state",
              "flaps_total",
              "prefixes_received",
              "prefixes_accepted",
              "prefixes_best",
              "prefixes_sent",
            ].map(async (name) => [name, await metric(`peer_${name}`)]),
          ),
        );
      const before = await metric("update_to_advertise_seconds");
      expect(await values()).toEqual({
        ...{ state: [5], flaps_total: [0], prefixes_received: [1], prefixes_accepted: [1] },
        ...{ prefixes_best: [1], prefixes_sent: [2] },
      });
      expect(await metric("kernel_routes")).toEqual([1]);
      const { updatesIn } = engine.speaker.peers.values().next().value!.counts; // there is one
      operate(engine.speaker, "refresh", { peer: "rack-1", direction: "in" });
      await eventually(() => engine.speaker.peers.values().next().value!.counts.updatesIn > updatesIn, true);
      await eventually(() => engine.isSettled, true);
      expect(await metric("update_to_advertise_seconds")).toEqual(before); // nothing changed
      expect(await metric("peer_flaps_total")).toEqual([0]);
    });

    test.each([
      ["reset", /Administrative reset: "new cable"/],
      ["shutdown", /Administrative shutdown: "until 14:00"/],
    ] as const)("%s --message: BIRD's log has it", async (action, words) => {
      operate(engine.speaker, action, {
        peer: "rack-1",
        message: action === "reset" ? "new cable" : "until 14:00",
      });
      await eventually(() => run("cat /run/bird.log"), expect.stringMatching(words));
      expect(await metric("peer_flaps_total")).toEqual([action === "reset" ? 1 : 2]);
      operate(engine.speaker, "start", { peer: "rack-1" });
      await eventually(state, "Established");
    });

    test("refresh: BIRD is asked for its routes, and told ours again", async () => {
      const heard = () =>
        Number(/Import updates:\s+(\d+)/.exec(bird.control("show protocols all node1"))?.[1]);
      const before = heard();
      operate(engine.speaker, "refresh", { peer: "rack-1" });
      await eventually(() => heard() > before, true);
      expect(state()).toBe("Established");
    });
  });

  describe("FRR as the guide has it", () => {
    const why = lacking(frrProgram);
    if (why) {
      test(`left out: FRR ${why}`, () => {});
      return;
    }
    const frr = new Frr("tor");
    afterAll(() => frr.remove());

    test("the session is up, pods are taken and nothing else, the default route comes", async () => {
      frr.start({
        zebra: "",
        bgpd: `${snippet("FRR:")}\nrouter bgp 65000\n bgp log-neighbor-changes\n`,
      });
      await eventually(state, "Established");
      await eventually(
        () => frr.show("bgp ipv4 unicast").match(/\d+\.\d+\.\d+\.\d+\/\d+/g),
        ["10.244.1.0/26"],
      );
      await eventually(kernelRoutes, ["default via 172.20.0.2 dev eth0 metric 1024"]);
    });

    test("shutdown --message: FRR says it", async () => {
      operate(engine.speaker, "shutdown", { peer: "rack-1", message: "until 14:00" });
      await eventually(() => frr.log, expect.stringMatching(/until 14:00/));
    });
  });
});
