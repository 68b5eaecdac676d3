/** Restarts, our own and those of peers (RFC 4724), with many speakers in one process over real TCP. */
import { connect, type Socket } from "node:net";
import { afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { Framer, writeMessage } from "@margay/bgp";
import { parsePrefix } from "@margay/net";
import { unshared } from "@margay/testing";
import { Engine, stillForwards } from "./engine.ts";
import type { Speaker } from "./speaker.ts";
import { eventually } from "./testing/bird.ts";
import { block, full, port, quiet, Speakers, self, states, table, to } from "./testing/speakers.ts";

unshared(import.meta.url, () => {
  const speakers = new Speakers();
  const start = speakers.start.bind(speakers);
  const origins = (...texts: string[]) => new Map(texts.map((text) => [text, parsePrefix(text)]));
  beforeAll(() => Speakers.addAddresses());
  afterEach(() => speakers.stop());

  /** What the only peer of `s` said of its restart. */
  const said = (s: Speaker) => s.negotiatedOf([...s.peers.values()][0]!)?.gracefulRestart;

  test("§5 a third connection does not end the one that a restarted peer is opening", async () => {
    const one = await start(1, [to(1, 2, { passive: true })]);
    const dialled: Socket[] = [];
    speakers.add({ stop: () => dialled.forEach((socket) => void socket.destroy()) });
    /** A connection of the peer, with its OPEN; how much was heard on it. */
    const dial = () => {
      const socket = connect({ port, host: "10.0.0.1", localAddress: "10.0.0.2" });
      const gracefulRestart = { restarting: true, restartTimeSeconds: 60, families: [] };
      const capabilities = { families: [4] as const, as4: 64512, gracefulRestart };
      socket.write(writeMessage({ kind: "open", as: 64512, holdTimeSeconds: 9, bgpId: 2, capabilities }));
      const heard = { socket, messages: 0, isClosed: false };
      const framer = new Framer();
      socket.on("data", (bytes) => {
        heard.messages += [...framer.push(bytes)].length;
      });
      socket.on("close", () => {
        heard.isClosed = true;
      });
      dialled.push(socket);
      return heard;
    };
    const alive = writeMessage({ kind: "keepalive" });
    const established = () => [...one.peers.values()][0]?.counts.established;
    dial().socket.write(alive);
    await eventually(established, 1);
    const second = dial();
    await eventually(() => second.messages, 2); // OPEN, KEEPALIVE: it is in OpenConfirm there
    const third = dial();
    await eventually(() => third.isClosed, true);
    second.socket.write(alive);
    await eventually(established, 2);
    expect(second.isClosed).toBe(false);
  });

  describe("ours", () => {
    test("§4.1 a reflector without kernel routes: no client hears End-of-RIB before all have said theirs", async () => {
      const late = { passive: true, sessionTerms: { delayOpenSeconds: 1 } };
      const reflector = async () => {
        const times = { connectRetrySeconds: 0.3, idleHoldSeconds: 0.1 };
        const engine = await Engine.open({ log: quiet, kernel: false, ...times });
        speakers.add({ stop: () => void engine.stop() });
        const clients = [to(1, 2, { client: true }), to(1, 3, { client: true, ...late, passive: false })];
        engine.apply({
          ...{ self: self(1, { clusterId: 1 }), peers: new Map(clients) },
          ...{ origins: { blocks: [parsePrefix(block(1))], borrowed: [] } },
          ...{ isExported: () => true, exportKey: "all" },
        });
        return engine;
      };
      const least = { known: 0 };
      const two: Speaker = await start(2, [to(2, 1)], {
        more: {
          onChanges: () => {
            least.known = Math.min(least.known, table(two).length);
          },
        },
      });
      const three = await start(3, [to(3, 1, late)]);
      const before = await reflector();
      await eventually(() => [two, three].map(table), [full(2, [1, 2, 3]), full(3, [1, 2, 3])]);
      least.known = 3;
      await before.stop();
      const after = await reflector();
      await eventually(() => after.speaker.hasConverged, true);
      await eventually(() => said(two)?.restarting, true);
      await eventually(() => [two, three].map(table), [full(2, [1, 2, 3]), full(3, [1, 2, 3])]);
      expect(least.known).toBe(3);
    });

    test("§4.1 two that restart together do not wait for each other's End-of-RIB to the end", async () => {
      const both = await Promise.all(
        [1, 2].map((n) => start(n, [to(n, 3 - n)], { more: { restarting: true } })),
      );
      await eventually(() => both.map((s) => s.hasConverged), [true, true]); // 5 s; the whole time is 120 s
      await eventually(() => both.map(table), [full(1, [1, 2]), full(2, [1, 2])]);
    });

    test.each<[string, boolean, boolean[][]]>([
      [
        "what was forwarded still is: F in both",
        true,
        [
          [true, true],
          [false, true],
        ],
      ],
      [
        "the kernel forgot it (a reboot): F once this process forwards",
        false,
        [
          [true, false],
          [false, true],
        ],
      ],
    ])("§3 R bit until it is over, not in later OPENs; %s", async (_why, forwarding, expected) => {
      const wanted = new Map([to(2, 1, { passive: true })]); // so it is ours that dials, both times
      const two = await start(2, [...wanted]);
      const one = await start(1, [to(1, 2)], { more: { restarting: true, forwarding } });
      const bits = () =>
        [said(two)?.restarting, ...(said(two)?.families.map((f) => f.forwarding) ?? [])].slice(0, 2);
      await eventually(() => one.hasConverged, true);
      await eventually(() => states(two), ["Established"]);
      const first = bits();
      const [peer] = one.peers.values();
      const { established } = peer!.counts;
      two.setPeers(self(2), new Map());
      two.setPeers(self(2), wanted);
      await eventually(() => [peer!.counts.established > established, ...states(two)], [true, "Established"]);
      expect([first, bits()]).toEqual(expected);
    });

    test.each<[string, boolean, boolean, number, boolean]>([
      ["a reflector, without kernel routes", false, false, 10, true],
      ["a process killed soon after the boot", true, true, 10, true],
      ["a reboot", true, false, 10, false],
      ["a process that had learned nothing is killed", true, false, 5000, true],
    ])("§3 F bit after %s", (_why, isWritten, hasOldRoutes, uptimeSeconds, expected) => {
      expect(stillForwards({ isWritten, hasOldRoutes }, uptimeSeconds)).toBe(expected);
    });

    test("§4.1 peers that nobody knows may still come (a listen range): End-of-RIB of the first is not that of all", async () => {
      const { address: _, ...template } = to(1, 9)[1];
      const ranges = [{ range: parsePrefix("10.0.0.8/29"), limit: 5, template }];
      const one = await start(1, [], { ranges, more: { restarting: true } });
      const nine = await start(9, [to(9, 1)]);
      await eventually(() => table(one), full(1, [1, 9]));
      nine.setOrigins(origins(block(9), block(8))); // heard after End-of-RIB
      await eventually(() => table(one).length, 3);
      expect(one.hasConverged).toBe(false);
    });
  });
});
