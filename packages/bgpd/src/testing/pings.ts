import { spawn } from "node:child_process";
import type { Socket } from "node:net";

export interface Pinged {
  readonly sent: number;
  /** Numbers of those that did not come back. The last one is left out: it may be under way when they end. */
  readonly lost: readonly number[];
}

/** Packets from a namespace, there and back, 50 a second, until `end`. */
export function pings(namespace: string, ...to: readonly string[]): { end(): Promise<Pinged> } {
  const dies = ["setpriv", "--pdeathsig", "KILL"];
  const words = ["netns", "exec", namespace, ...dies, "ping", "-n", "-i", "0.02", ...to];
  const ping = spawn("ip", words, { stdio: ["ignore", "pipe", "ignore"] });
  ping.unref(); // nobody waits for it where a test failed before `end`
  (ping.stdout as unknown as Socket).unref(); // a pipe is one
  let text = "";
  ping.stdout.setEncoding("utf8").on("data", (more: string) => {
    text += more;
  });
  return {
    end: async () => {
      const gone = new Promise((resolve) => ping.once("close", resolve));
      ping.kill("SIGINT");
      await gone;
      const sent = Number(/(\d+) packets transmitted/.exec(text)?.[1]);
      const back = new Set([...text.matchAll(/icmp_seq=(\d+) ttl=/g)].map(([, n]) => Number(n)));
      const lost = Array.from({ length: sent - 1 }, (_, i) => i + 1).filter((n) => !back.has(n));
      return { sent, lost };
    },
  };
}
