/** The daemons under test: configuration of each, and what its process takes. None writes a kernel route. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { cpuMs, rssMb } from "../process-table.ts";
import { localAs, type Row } from "./rows.ts";

/** Margay's is short, so that KEEPALIVEs are due while it works. */
export const holdSecondsOf = (name: DaemonName): number => (name === "margay" ? 9 : 90);

export const listenAt = { address: "127.0.0.1", port: 1790 };
const routerId = "192.0.2.1";
const adapter = fileURLToPath(new URL("adapter.mjs", import.meta.url));

interface Recipe {
  readonly program: string;
  /** Command line, after the configuration is written. */
  readonly prepare: (row: Row, dir: string) => readonly string[];
}

const lines = (parts: readonly string[]): string => `${parts.join("\n")}\n`;

const bird: Recipe = {
  program: "/usr/sbin/bird",
  prepare: ({ peers, reflects }, dir) => {
    writeFileSync(
      join(dir, "bird.conf"),
      lines([
        `router id ${routerId}; protocol device { scan time 3600; }`,
        'protocol static { ipv4; route 172.0.0.0/8 via "lo"; }',
        "template bgp peer {",
        `local ${listenAt.address} port ${listenAt.port} as ${localAs}; strict bind yes; multihop 2; passive yes;`,
        `hold time 90; graceful restart off; ${reflects ? `rr cluster id ${routerId};` : ""}`,
        "ipv4 { import all; export where source = RTS_BGP; }; }",
        ...peers.map(
          ({ address, as }, i) =>
            `protocol bgp p${i} from peer { neighbor ${address} as ${as}; ${reflects ? "rr client;" : ""} }`,
        ),
      ]),
    );
    return ["-f", "-c", join(dir, "bird.conf"), "-s", join(dir, "bird.ctl")];
  },
};

const frr: Recipe = {
  program: "/usr/lib/frr/bgpd",
  prepare: ({ peers, reflects }, dir) => {
    writeFileSync(
      join(dir, "bgpd.conf"),
      lines([
        `router bgp ${localAs}`,
        ` bgp router-id ${routerId}`,
        " no bgp ebgp-requires-policy",
        " no bgp default ipv4-unicast",
        // Its own second; unless told, it takes 50 ms more for every peer.
        " coalesce-time 1000",
        " timers bgp 30 90",
        ...peers.flatMap(({ address: a, as }) => [
          ` neighbor ${a} remote-as ${as}`,
          ` neighbor ${a} passive`,
          ` neighbor ${a} advertisement-interval 0`,
          ...(as === localAs ? [] : [` neighbor ${a} ebgp-multihop 2`]),
        ]),
        " address-family ipv4 unicast",
        ...peers.flatMap(({ address: a }) => [
          `  neighbor ${a} activate`,
          ...(reflects ? [`  neighbor ${a} route-reflector-client`] : []),
        ]),
        " exit-address-family",
      ]),
    );
    const files = ["-f", join(dir, "bgpd.conf"), "-i", join(dir, "bgpd.pid"), "--vty_socket", dir];
    const log = ["--log", `file:${join(dir, "bgpd.log")}`, "--log-level", "errors"];
    return [..."-S -Z -n -P 0 -l".split(" "), listenAt.address, "-p", `${listenAt.port}`, ...files, ...log];
  },
};

const margay: Recipe = {
  program: process.execPath,
  prepare: ({ peers, reflects }, dir) => {
    const file = join(dir, "bench.json");
    const local = { as: localAs, router_id: routerId, cluster_id: routerId, ...listenAt };
    const neighbors = peers.map(({ address, as }) => ({ address, as, rr_client: reflects, passive: true }));
    writeFileSync(
      file,
      JSON.stringify({ local, families: ["ipv4"], hold_time: holdSecondsOf("margay"), neighbors }),
    );
    return [adapter, file];
  },
};

export const recipes = { bird, frr, margay } as const;
export type DaemonName = keyof typeof recipes;
export const isInstalled = (name: DaemonName): boolean => existsSync(recipes[name].program);

/** One that runs; it dies with us. */
export class Daemon {
  readonly #dir = mkdtempSync(join(tmpdir(), "margay-bench-"));
  readonly #process: ChildProcess;

  constructor(name: DaemonName, row: Row) {
    const { program, prepare } = recipes[name];
    const words = ["--pdeathsig", "KILL", "--", program, ...prepare(row, this.#dir)];
    this.#process = spawn("setpriv", words, { stdio: ["ignore", "ignore", "inherit"] });
  }

  get #pid(): string {
    return `${this.#process.pid}`;
  }

  /** User and system time so far, in milliseconds. */
  get cpuMs(): number {
    return cpuMs(this.#pid);
  }

  get rssBytes(): number {
    return rssMb(this.#pid) * 2 ** 20;
  }

  /** Somebody, who is no neighbor, can connect. */
  async listening(): Promise<void> {
    for (;;) {
      const socket = connect({ host: listenAt.address, port: listenAt.port });
      const isUp = await once(socket, "connect").then(
        () => true,
        () => false,
      );
      socket.destroy();
      if (isUp) return;
      await delay(50);
    }
  }

  async stop(): Promise<void> {
    const gone = new Promise((resolve) => this.#process.once("exit", resolve));
    if (this.#process.kill("SIGKILL")) await gone;
    rmSync(this.#dir, { recursive: true, force: true });
  }
}
