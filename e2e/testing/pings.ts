import { exitOf, type TestLab } from "./lab.ts";

export interface Pings {
  /** Ends them: which of all sent were lost, by number; the last may be under way still. */
  end(): Promise<{ readonly sent: number; readonly lost: readonly number[] }>;
}

/** What a pod sends to an address from now on: a hundred echo requests a second. */
export function pings(lab: TestLab, from: string, to: string): Pings {
  // A signal to `lab exec` does not come there; the end of its input does.
  const script = 'ping -n -i 0.01 "$0" & read -r _; kill -INT $!; wait $!';
  const child = lab.spawn(from, ["sh", "-c", script, to]);
  let text = "";
  child.stdout?.setEncoding("utf8").on("data", (chunk) => (text += chunk));
  return {
    end: async () => {
      child.stdin?.end();
      await exitOf(child);
      const sent = Number(/(\d+) packets transmitted/.exec(text)?.[1] ?? 0);
      const back = new Set([...text.matchAll(/icmp_seq=(\d+) ttl=/g)].map(([, n]) => Number(n)));
      const lost = Array.from({ length: Math.max(0, sent - 1) }, (_, i) => i + 1).filter((n) => !back.has(n));
      return { sent, lost };
    },
  };
}
