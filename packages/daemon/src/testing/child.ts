import { Gauge, type Registry } from "prom-client";
import yargs from "yargs";
import { daemonFlags } from "../flags.ts";
import { runDaemon } from "../run-daemon.ts";

/** A daemon for the tests, as its own process; what it does wrong is told by `--fault`. */
const parser = yargs(process.argv.slice(2))
  .strict()
  .fail((message, error) => {
    process.stderr.write(`${error?.message ?? message}\n`);
    process.exit(2);
  });
const more = {
  fault: { type: "string", default: "" },
  "health-port": { type: "number", default: 0 },
} as const;
const options = await daemonFlags(parser, more).parse();

process.exitCode = await runDaemon({
  name: "agent",
  options,
  async start({ log, health, control, store, metrics }) {
    const { fault } = options;
    if (fault === "start") throw new Error("no such bridge: br0");
    health.ready("datastore", false, "first synchronisation is under way");
    if (fault === "dead-loop") health.live("dataplane", 0);
    if (fault === "metrics") unreadable(metrics);
    health.remark("peers", () => (fault === "remark" ? "the session to n2 is down" : undefined));
    control.get("/echo", (query) => query);
    control.get("/broken", () => {
      throw new Error("ipset is missing");
    });
    control.get("/synced", () => health.ready("datastore", true));
    control.get("/crash", () => void setImmediate(() => Promise.reject(new Error("invariant broken"))));
    control.get("/store", () => store.get("/margay/v1/nodes/n1"));
    control.get("/metrics", () => metrics.getMetricsAsArray().length);
    control.get("/options", () => options);
    log.info({ event: "in-sync", revision: 7 }, "in sync");
    const holding = setInterval(() => {}, 1000);
    return {
      async stop() {
        if (fault === "stop") await new Promise(() => {});
        if (fault !== "linger") clearInterval(holding);
      },
    };
  },
});

function unreadable(metrics: Registry): void {
  const collect = () => Promise.reject(new Error("iptables-save: lock not taken"));
  new Gauge({ name: "rules", help: "Rules.", registers: [metrics], collect });
}
