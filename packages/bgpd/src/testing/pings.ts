import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Socket } from "node:net";

export interface Pinged {
  readonly sent: number;
  /** Numbers of those that did not come back. The last one is left out: it may be under way when they end. */
  readonly lost: readonly number[];
}

export interface Pings {
  /** How many are back so far. */
  readonly back: number;
  end(): Promise<Pinged>;
}

/** Packets from a namespace, there and back, 50 a second, until `end`, which throws when they were less than two. */
export function pings(namespace: string, ...to: readonly string[]): Pings {
  const dies = ["setpriv", "--pdeathsig", "KILL"];
  const words = ["netns", "exec", namespace, ...dies, "ping", "-n", "-i", "0.02", ...to];
  const ping = spawn("ip", words, { stdio: ["ignore", "pipe", "ignore"] });
  ping.unref(); // nobody waits for it where a test failed before `end`
  (ping.stdout as unknown as Socket).unref(); // a pipe is one
  const gone = once(ping, "close");
  let text = "";
  ping.stdout.setEncoding("utf8").on("data", (more: string) => {
    text += more;
  });
  const numbers = () => new Set([...text.matchAll(/icmp_seq=(\d+) ttl=/g)].map(([, n]) => Number(n)));
  return {
    get back() {
      return numbers().size;
    },
    end: async () => {
      ping.kill("SIGINT");
      await gone;
      const sent = Number(/(\d+) packets transmitted/.exec(text)?.[1]);
      if (!(sent >= 2)) throw new Error(`ping sent too few to tell: ${text}`);
      const back = numbers();
      const lost = Array.from({ length: sent - 1 }, (_, i) => i + 1).filter((n) => !back.has(n));
      return { sent, lost };
    },
  };
}
