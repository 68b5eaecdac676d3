import { expect, test } from "@jest/globals";
import { parseAddress } from "@margay/net";
import type { Engine } from "./engine.ts";
import { seeDown } from "./pending.ts";

/** As much of an engine as is looked at. */
const engineWith = (...states: string[]) => {
  const peers = states.map((state, i) => ({
    wanted: { name: `n${i}`, address: parseAddress(`192.0.2.${i + 1}`) },
    session: { state },
  }));
  const engine = { speaker: { peers: new Map(peers.map((peer) => [peer.wanted.name, peer])) } };
  return { engine: engine as unknown as Pick<Engine, "speaker">, peers };
};

const names = (engine: Pick<Engine, "speaker">, nowMs: number) =>
  seeDown(engine, nowMs).map(({ wanted }) => wanted.name);

test("a session that is down is waited for as long as a first attempt lasts, and anew after it was up", () => {
  const { engine, peers } = engineWith("Established", "Connect");
  expect(names(engine, 1000)).toEqual([]);
  expect(names(engine, 10_999)).toEqual([]);
  expect(names(engine, 11_000)).toEqual(["n1"]);
  peers[1]!.session.state = "Established"; // there are two
  expect(names(engine, 12_000)).toEqual([]);
  peers[1]!.session.state = "Active";
  expect(names(engine, 13_000)).toEqual([]);
  expect(names(engine, 23_000)).toEqual(["n1"]);
});
