import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";
import { afterEach, describe, expect, test } from "@jest/globals";
import { parseAddress } from "@margay/net";
import { Link } from "./link.ts";
import { settingsOf } from "./settings.ts";
import { self, to } from "./testing/speakers.ts";

const wanted = to(1, 2)[1];
const settings = settingsOf(wanted, { self: self(1), restarting: false, forwarding: true });

describe("a link", () => {
  const open: { destroy(): void }[] = [];
  afterEach(() => {
    for (const one of open.splice(0)) one.destroy();
  });

  test("after a stall longer than the hold time what lies unread in the socket counts", async () => {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const peer = connect((server.address() as AddressInfo).port, "127.0.0.1"); // it listens on TCP
    const [socket] = (await once(server, "connection")) as [Socket];
    open.push(peer, socket, { destroy: () => server.close() });
    await once(peer, "connect");
    const fired: string[] = [];
    const link = new Link("us", settings, (_, name) => fired.push(name));
    let isHeard = false;
    socket.on("data", () => {
      isHeard = true;
      link.arm("hold", 60);
    });
    link.arm("hold", 0.5);
    peer.write("alive");
    for (const end = Date.now() + 600; Date.now() < end; );
    while (!isHeard) await nextTurn();
    await nextTurn();
    expect(fired).toEqual([]);
    link.arm("hold", 0.05);
    while (fired.length === 0) await nextTurn(); // silence
    expect(fired).toEqual(["hold"]);
  });

  test("RFC 4271 §6.8 what it dials is ours, whoever opened the connection before", () => {
    const link = new Link("peer", settings, () => {});
    const local = { address: parseAddress("127.0.0.1"), localAddress: parseAddress("127.0.0.1"), port: 1 };
    link.dial({ ...wanted, ...local }, { onUp: () => {}, onDown: () => {} });
    expect(link.opener).toBe("us");
    link.close();
  });
});
