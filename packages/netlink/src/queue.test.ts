import { execFileSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { expect, test } from "@jest/globals";
import { unshared } from "@margay/testing";
import { PacketQueue } from "./index.ts";

const sh = (command: string): string => execFileSync("sh", ["-c", command], { encoding: "utf8" });

interface Held {
  readonly packet: string;
  readonly letGo: () => void;
}

/** A queue that lets nothing go by itself. */
function listening() {
  const packets: Held[] = [];
  const errors: string[] = [];
  let told = Promise.withResolvers<void>();
  const queue = new PacketQueue({
    ...{ number: 7, atMost: 16, bytes: 100 },
    onPacket: (packet, letGo) => {
      packets.push({ packet: Buffer.from(packet.subarray(28)).toString(), letGo });
      told.resolve();
    },
    onError: ({ code }) => {
      errors.push(code);
      told.resolve();
    },
  });
  /** The next packet, unless the queue ends before. */
  const next = async (): Promise<Held | undefined> => {
    if (packets.length === 0 && errors.length === 0) await told.promise;
    told = Promise.withResolvers();
    return packets.shift();
  };
  return { queue, next, errors };
}

unshared(import.meta.url, () => {
  test("a packet that is gone with its interface before it is let go costs no other one", async () => {
    sh(`iptables -t mangle -A POSTROUTING -p udp --dport 4242 -j NFQUEUE --queue-num 7 --queue-bypass
        for i in 1 2; do
          ip link add d$i type veth peer name p$i; ip link set p$i up; ip link set d$i up
          ip addr add 198.51.10$i.1/24 dev d$i; ip neigh add 198.51.10$i.2 dev d$i lladdr 02:00:00:00:00:02
        done`);
    const { queue, next, errors } = listening();
    const sender = createSocket("udp4");
    try {
      sender.send("first", 4242, "198.51.101.2");
      const first = await next();
      sh("ip link del d1");
      first?.letGo();
      sender.send("second", 4242, "198.51.102.2");
      expect((await next())?.packet).toBe("second");
      expect(errors).toEqual([]);
      expect(sh("cat /proc/net/netfilter/nfnetlink_queue")).toMatch(/^ +7 /);
    } finally {
      sender.close();
      queue.close();
      sh("iptables -t mangle -F; ip link del d2");
    }
  });

  test("what waits when it is closed goes on", async () => {
    sh("ip link set lo up; iptables -t mangle -A POSTROUTING -p udp --dport 4242 -j NFQUEUE --queue-num 7");
    const { queue, next } = listening();
    const [sender, receiver] = [createSocket("udp4"), createSocket("udp4")];
    try {
      const received: string[] = [];
      const all = Promise.withResolvers<void>();
      receiver.on("message", (message) => {
        received.push(message.toString());
        if (received.length === 2) all.resolve();
      });
      await new Promise<void>((done) => receiver.bind(4242, "127.0.0.1", done));
      sender.send("seen", 4242, "127.0.0.1");
      await next();
      await new Promise((done) => sender.send("not even seen", 4242, "127.0.0.1", done));
      queue.close();
      await all.promise;
      expect(received).toEqual(["seen", "not even seen"]);
    } finally {
      for (const socket of [sender, receiver]) socket.close();
      sh("iptables -t mangle -F");
    }
  });
});
