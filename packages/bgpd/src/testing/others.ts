/** BIRD, FRR, GoBGP and OpenBGPD with two neighbours of ours, each in a namespace of its own; read through their own tools. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { scratch } from "@margay/testing";
import { run } from "./bird.ts";

/** One of our speakers, as a neighbour of the other daemon. */
export interface Neighbour {
  readonly address: string;
  readonly as: number;
  readonly client: boolean;
}

export interface Scene {
  readonly address: string;
  readonly address6: string;
  /** Where the address is none. */
  readonly routerId?: string;
  readonly as: number;
  readonly neighbours: readonly Neighbour[];
  readonly password: string;
  /** A network that it announces as its own. */
  readonly own?: string;
  /** Scratch files. */
  readonly dir: string;
}

/** How one daemon is told and asked. */
export interface Recipe {
  readonly name: string;
  readonly program: string;
  configure(scene: Scene): { file: string; text: string; command: string };
  /** Shell command that prints how many prefixes of the family are in its table. */
  count(dir: string, family: 4 | 6): string;
  /** Shell command that makes it ask `address` for all routes again (RFC 2918); GoBGP has none, it keeps what it heard. */
  refresh?(dir: string, address: string): string;
  /** Shell command that gives it its own network, where its configuration cannot. */
  announce?(own: string): string;
  /** What its command line gets when it follows a process of its own that was killed (RFC 4724). */
  readonly restarts: string;
  /** Why its IPv6 routes of an eBGP session over IPv4 cannot be used; over IPv6 they can. */
  readonly lacksIPv6?: string;
  /** It asks for no time to restart: its routes go with it, and come back with it. */
  readonly keepsNothing?: true;
  /** It refuses GTSM for internal peers. */
  readonly externalGtsmOnly?: true;
  /** It must be able to become another user. */
  readonly needsUsers?: true;
}

const lines = (parts: readonly string[]): string => `${parts.join("\n")}\n`;

const bird: Recipe = {
  name: "BIRD",
  program: "/usr/sbin/bird",
  restarts: "-R",
  configure: ({ address, address6, routerId = address, as, neighbours, password, own, dir }) => ({
    file: "bird.conf",
    text: lines([
      `router id ${routerId}; protocol device {}`,
      own ? `protocol static { ipv4; route ${own} blackhole; }` : "",
      ...neighbours.map(
        (n, i) => `protocol bgp n${i} { local ${address} as ${as}; neighbor ${n.address} as ${n.as};
          password "${password}"; connect delay time 1; connect retry time 1; error wait time 1, 2;
          graceful restart on; ${n.client ? "rr client;" : ""} ttl security on;
          ipv4 { import all; export all; };
          ipv6 { import all; export where source = RTS_BGP; ${n.client ? "" : `next hop address ${address6};`} }; }`,
      ),
    ]),
    command: `bird -f -c ${dir}/bird.conf -s ${dir}/bird.ctl`,
  }),
  count: (dir, family) =>
    `birdc -s ${dir}/bird.ctl show route table master${family} count | sed -n 's/.* for \\([0-9]*\\) networks.*/\\1/p'`,
  refresh: (dir, address) => `birdc -s ${dir}/bird.ctl reload in n${address.endsWith(".11") ? 0 : 1}`,
};

const frr: Recipe = {
  name: "FRR",
  program: "/usr/lib/frr/bgpd",
  restarts: "",
  configure: ({ address, address6, routerId = address, as, neighbours, password, own, dir }) => ({
    file: "bgpd.conf",
    text: lines([
      "frr defaults traditional",
      "route-map six permit 10",
      ` set ipv6 next-hop global ${address6}`,
      `router bgp ${as}`,
      ` bgp router-id ${routerId}`,
      " no bgp ebgp-requires-policy",
      " no bgp default ipv4-unicast",
      " no bgp network import-check",
      " bgp graceful-restart",
      " bgp graceful-restart preserve-fw-state",
      ...neighbours.flatMap((n) => [
        ` neighbor ${n.address} remote-as ${n.as}`,
        ` neighbor ${n.address} password ${password}`,
        ` neighbor ${n.address} timers connect 1`,
        ` neighbor ${n.address} advertisement-interval 0`,
        ` neighbor ${n.address} ttl-security hops 1`,
      ]),
      ...["ipv4", "ipv6"].flatMap((family) => [
        ` address-family ${family} unicast`,
        ...(own && family === "ipv4" ? [`  network ${own}`] : []),
        ...neighbours.flatMap((n) => [
          `  neighbor ${n.address} activate`,
          ...(n.client ? [`  neighbor ${n.address} route-reflector-client`] : []),
          ...(family === "ipv6" && !n.client ? [`  neighbor ${n.address} route-map six out`] : []),
        ]),
        " exit-address-family",
      ]),
    ]),
    command: `/usr/lib/frr/bgpd -S -Z -n -l ${address} -p 179 -P 0 -f ${dir}/bgpd.conf -i ${dir}/bgpd.pid --vty_socket ${dir} --log file:${dir}/bgpd.log --log-level errors`,
  }),
  count: (dir, family) =>
    `vtysh --vty_socket ${dir} -d bgpd -c 'show bgp ipv${family} unicast statistics' | sed -n 's/^Total Prefixes *: *\\([0-9]*\\).*/\\1/p'`,
  refresh: (dir, address) =>
    `vtysh --vty_socket ${dir} -d bgpd -c 'clear bgp ipv4 unicast ${address} soft in'`,
};

const gobgp: Recipe = {
  name: "GoBGP",
  program: "/usr/bin/gobgpd",
  restarts: "-r",
  announce: (own) => `gobgp global rib add ${own}`,
  configure: ({ address, routerId = address, as, neighbours, password, dir }) => ({
    file: "gobgpd.toml",
    text: lines([
      `[global.config]\nas = ${as}\nrouter-id = "${routerId}"\nlocal-address-list = ["${address}"]`,
      ...neighbours.map((n) =>
        lines([
          `[[neighbors]]\n[neighbors.config]\nneighbor-address = "${n.address}"\npeer-as = ${n.as}\nauth-password = "${password}"`,
          "[neighbors.timers.config]\nconnect-retry = 1\nidle-hold-time-after-reset = 1",
          "[neighbors.graceful-restart.config]\nenabled = true\nrestart-time = 60",
          "[neighbors.ttl-security.config]\nenabled = true\nttl-min = 255",
          n.client
            ? `[neighbors.route-reflector.config]\nroute-reflector-client = true\nroute-reflector-cluster-id = "${address}"`
            : "",
          ...["ipv4", "ipv6"].map(
            (f) =>
              `[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = "${f}-unicast"\n[neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true`,
          ),
        ]),
      ),
    ]),
    command: `gobgpd -f ${dir}/gobgpd.toml -l error --pprof-disable --api-hosts=127.0.0.1:50051`,
  }),
  count: (_dir, family) =>
    `gobgp global rib summary -a ipv${family} | sed -n 's/.*Destination: \\([0-9]*\\),.*/\\1/p'`,
};

const openbgpd: Recipe = {
  name: "OpenBGPD",
  program: "/usr/sbin/bgpd",
  needsUsers: true,
  lacksIPv6: "names ::1 as next hop (OpenBGPD 7.7 portable), whatever its filters say; without a ::1 it dies",
  restarts: "",
  keepsNothing: true,
  externalGtsmOnly: true,
  configure: ({ address, routerId = address, as, neighbours, password, own, dir }) => ({
    file: "openbgpd.conf",
    text: lines([
      `AS ${as}\nrouter-id ${routerId}\nlisten on ${address}\nsocket "${dir}/bgpd.ctl"\nfib-update no\nnexthop qualify via default\n${own ? `network ${own}` : ""}`,
      ...neighbours.map(
        (
          n,
        ) => `neighbor ${n.address} {\n remote-as ${n.as}\n local-address ${address}\n tcp md5sig password "${password}"
 ${n.as === as ? "" : "ttl-security yes"}
 announce IPv4 unicast\n announce IPv6 unicast\n ${n.client ? `route-reflector ${address}` : ""}\n}`,
      ),
      "allow from any\nallow to any",
    ]),
    command: `/usr/sbin/bgpd -d -f ${dir}/openbgpd.conf`,
  }),
  count: (dir, family) =>
    `bgpctl -s ${dir}/bgpd.ctl show rib inet${family === 6 ? "6" : ""} best | grep -c '^[^ ]*[*>]'`,
  refresh: (dir, address) => `bgpctl -s ${dir}/bgpd.ctl neighbor ${address} refresh`,
};

export const recipes: readonly Recipe[] = [bird, frr, gobgp, openbgpd];

/** RFC 5082 is for external peers; who can do it for internal ones too does. */
export const internalGtsm = ({ externalGtsmOnly }: Recipe) =>
  externalGtsmOnly ? {} : { ttlSecurityHops: 1 };

/** Why the daemon cannot run here, if it cannot. One that is missing is a fault: set-up installs them all. */
export function lacking({ program, needsUsers }: Pick<Recipe, "program" | "needsUsers">): string | undefined {
  if (!existsSync(program)) throw new Error(`${program} is not installed: npm run setup does it`);
  const oneUser = run("wc -l < /proc/self/uid_map; awk '{print $3}' /proc/self/uid_map").includes("\n1\n");
  return needsUsers && oneUser ? "needs root: it changes its user" : undefined;
}

/** A daemon that runs in a namespace; it dies with this process. */
export class Other {
  readonly #recipe: Recipe;
  readonly #namespace: string;
  readonly #own: string | undefined;
  readonly dir = scratch(tmpdir(), "other");
  readonly #command: string;
  #process: ChildProcess;

  constructor(recipe: Recipe, namespace: string, scene: Omit<Scene, "dir">) {
    this.#recipe = recipe;
    this.#namespace = namespace;
    this.#own = scene.own;
    run(`chmod 755 ${this.dir}`);
    mkdirSync("/run/openbgpd", { recursive: true });
    const { file, text, command } = recipe.configure({ ...scene, dir: this.dir });
    writeFileSync(join(this.dir, file), text, { mode: 0o600 });
    this.#command = command;
    this.#process = this.#start(command);
  }

  #start(command: string): ChildProcess {
    const words = ["netns", "exec", this.#namespace, "setpriv", "--pdeathsig", "KILL"];
    return spawn("ip", [...words, ...command.trim().split(" ")], { stdio: "ignore" });
  }

  async kill(): Promise<void> {
    const gone = new Promise((resolve) => this.#process.once("exit", resolve));
    if (this.#process.kill("SIGKILL")) await gone;
  }

  /** After `kill`: it is told that it follows itself. */
  startAgain(): void {
    this.#process = this.#start(`${this.#command} ${this.#recipe.restarts}`);
  }

  /** Gives it its own network, where its configuration did not; false while it is not up. */
  announce(): boolean {
    const command = this.#own && this.#recipe.announce?.(this.#own);
    return !command || this.#ask(`${command} && echo done`) !== "";
  }

  /** Prefixes in its table, as it says itself; undefined while it says nothing. */
  count(family: 4 | 6): number | undefined {
    const text = this.#ask(this.#recipe.count(this.dir, family));
    return text === "" ? undefined : Number(text);
  }

  refresh(address: string): void {
    const command = this.#recipe.refresh?.(this.dir, address);
    if (command) this.#ask(command);
  }

  #ask(command: string): string {
    try {
      return run(
        `ip netns exec ${this.#namespace} sh -c "${command.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}" 2>/dev/null`,
      ).trim();
    } catch {
      return ""; // not up yet
    }
  }

  async stop(): Promise<void> {
    const gone = new Promise((resolve) => this.#process.once("exit", resolve));
    if (this.#process.kill("SIGTERM")) await gone;
    rmSync(this.dir, { recursive: true, force: true });
  }
}
