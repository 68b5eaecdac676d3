import { formatAddress } from "@margay/net";
import { Gauge, type Registry } from "prom-client";
import type { Engine } from "./engine.ts";

const families = [4, 6] as const;
const states = ["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"];

/** Registers bgpd's metrics; all are read from the engine when somebody asks. */
export function bgpdMetrics(registry: Registry, engine: Engine): void {
  const peerGauge = (name: string, help: string, read: (key: string) => number) => {
    new Gauge({
      name: `margay_bgp_peer_${name}`,
      help,
      labelNames: ["peer", "name"],
      registers: [registry],
      collect() {
        this.reset();
        for (const [key, { wanted }] of engine.speaker.peers)
          this.set({ peer: formatAddress(wanted.address), name: wanted.name }, read(key));
      },
    });
  };
  const peer = (key: string) => engine.speaker.peers.get(key);
  const counts = (key: string) => {
    const one = peer(key);
    const source = one && engine.speaker.sourceOf(one);
    return families.map((f) =>
      source ? engine.speaker.ribs[f].counts(source) : { received: 0, accepted: 0, best: 0 },
    );
  };
  const total = (of: (key: string) => number[]) => (key: string) => of(key).reduce((a, b) => a + b, 0);
  peerGauge("state", `State of the session: ${states.map((s, i) => `${i} ${s}`).join(", ")}.`, (k) =>
    states.indexOf(peer(k)?.session.state ?? "Idle"),
  );
  peerGauge("flaps", "Times that an established session ended.", (k) => peer(k)?.counts.flaps ?? 0);
  peerGauge("messages_received", "Messages received.", (k) => peer(k)?.counts.messagesIn ?? 0);
  peerGauge(
    "messages_sent",
    "Pieces sent; one may hold several messages.",
    (k) => peer(k)?.counts.messagesOut ?? 0,
  );
  peerGauge("unsent_bytes", "Bytes that wait in the socket.", (k) => peer(k)?.unsentBytes ?? 0);
  peerGauge(
    "prefixes_received",
    "Prefixes in the Adj-RIB-In.",
    total((k) => counts(k).map((c) => c.received)),
  );
  peerGauge(
    "prefixes_accepted",
    "Prefixes that import policy accepted.",
    total((k) => counts(k).map((c) => c.accepted)),
  );
  peerGauge(
    "prefixes_best",
    "Prefixes whose best path this is.",
    total((k) => counts(k).map((c) => c.best)),
  );
  peerGauge("prefixes_sent", "Prefixes in the Adj-RIB-Out.", (k) => {
    const one = peer(k);
    return one ? engine.speaker.prefixesOut(one) : 0;
  });
  const gauge = (name: string, help: string, read: () => number) => {
    new Gauge({
      name: `margay_bgp_${name}`,
      help,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  };
  gauge("kernel_routes", "Kernel routes wanted.", () => engine.kernel.size);
  gauge(
    "kernel_repairs",
    "Times that one of our kernel routes was changed by somebody else.",
    () => engine.kernel.counts.repairs,
  );
  gauge("kernel_errors", "Passes over the kernel routes that failed.", () => engine.kernel.counts.errors);
  gauge("attributes", "Distinct attribute sets known.", () => engine.speaker.attributeLists);
}
