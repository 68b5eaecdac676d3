import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import type { Engine } from "./engine.ts";
import { keyOf } from "./settings.ts";

const families = [4, 6] as const;
const states = ["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"];

/** Registers bgpd's metrics; all are read from the engine when somebody asks. */
export function bgpdMetrics(registry: Registry, engine: Engine): void {
  const peer = (key: string) => engine.speaker.peers.get(key);
  const each = (show: (labels: Record<"peer" | "name", string>, key: string) => void) => {
    for (const [key, { wanted }] of engine.speaker.peers)
      show({ peer: keyOf(wanted), name: wanted.name }, key);
  };
  const labelNames = ["peer", "name"];
  const registers = [registry];
  const peerGauge = (name: string, help: string, read: (key: string) => number) => {
    new Gauge({
      ...{ name: `margay_bgp_peer_${name}`, help, labelNames, registers },
      collect() {
        this.reset();
        each((labels, key) => this.set(labels, read(key)));
      },
    });
  };
  const peerCounter = (name: string, help: string, count: "flaps" | "messagesIn" | "messagesOut") => {
    new Counter({
      ...{ name: `margay_bgp_peer_${name}_total`, help, labelNames, registers },
      collect() {
        this.reset();
        each((labels, key) => this.inc(labels, peer(key)?.counts[count] ?? 0));
      },
    });
  };
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
  peerCounter("flaps", "Times that an established session ended.", "flaps");
  peerCounter("messages_received", "Messages received.", "messagesIn");
  peerCounter("messages_sent", "Messages sent.", "messagesOut");
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
  peerGauge("prefixes_sent", "Prefixes in its Adj-RIB-Out.", (k) => {
    const one = peer(k);
    return one ? engine.speaker.prefixesOut(one) : 0;
  });
  for (const direction of ["sent", "received", "connection"] as const)
    new Gauge({
      name: `margay_bgp_peer_last_error_${direction}_timestamp_seconds`,
      help: `When the last fault ${direction === "connection" ? "of the connection" : `that was ${direction}`} was, seconds since 1970, and which; none: there was none.`,
      ...{ labelNames: [...labelNames, "error"], registers },
      collect() {
        this.reset();
        each((labels, key) => {
          const fault = peer(key)?.faults[direction];
          if (fault) this.set({ ...labels, error: fault.words }, fault.at / 1000);
        });
      },
    });
  const measured = new Map<string, Record<"peer" | "name", string>>();
  const latency = new Histogram({
    name: "margay_bgp_update_to_advertise_seconds",
    help: "From an UPDATE of the peer to the first announcement of what it changed, once all of it is decided. One that changed nothing is not counted.",
    labelNames,
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    registers,
    collect() {
      const here = new Set<string>();
      each((labels) => here.add(JSON.stringify(labels)));
      for (const [key, labels] of measured) {
        if (here.has(key)) continue;
        this.remove(labels);
        measured.delete(key);
      }
    },
  });
  engine.speaker.onAdvertised = (seconds, from) => {
    const labels = { peer: keyOf(from), name: from.name };
    measured.set(JSON.stringify(labels), labels);
    latency.observe(labels, seconds);
  };
  const gauge = (name: string, help: string, read: () => number) => {
    new Gauge({
      ...{ name: `margay_bgp_${name}`, help, registers },
      collect() {
        this.set(read());
      },
    });
  };
  const counter = (name: string, help: string, read: () => number) => {
    new Counter({
      ...{ name: `margay_bgp_${name}_total`, help, registers },
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  };
  gauge("kernel_routes", "Kernel routes wanted.", () => engine.kernel.size);
  counter(
    "kernel_repairs",
    "Times that one of our kernel routes was changed by somebody else.",
    () => engine.kernel.counts.repairs,
  );
  counter("kernel_errors", "Passes over the kernel routes that failed.", () => engine.kernel.counts.errors);
  gauge("attributes", "Distinct attribute sets known.", () => engine.speaker.attributeLists);
}
