import { Gauge, Histogram, type Registry } from "prom-client";
import type { Engine } from "./engine.ts";
import { keyOf } from "./settings.ts";

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
          this.set({ peer: keyOf(wanted), name: wanted.name }, read(key));
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
  peerGauge(
    "prefixes_sent",
    "Prefixes in the Adj-RIB-Out of its update group: with those from the peer itself, which it is not sent.",
    (k) => {
      const one = peer(k);
      return one ? engine.speaker.prefixesOut(one) : 0;
    },
  );
  for (const direction of ["sent", "received", "connection"] as const)
    peerGauge(
      `last_error_${direction}_timestamp_seconds`,
      `When the last fault ${direction === "connection" ? "of the connection" : `that was ${direction}`} was, seconds since 1970; 0 for none.`,
      (k) => (peer(k)?.faults[direction]?.at ?? 0) / 1000,
    );
  const latency = new Histogram({
    name: "margay_bgp_update_to_advertise_seconds",
    help: "From an UPDATE received to the first announcement of what it changed.",
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    registers: [registry],
  });
  engine.speaker.onAdvertised = (seconds) => latency.observe(seconds);
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
