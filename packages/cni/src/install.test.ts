import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { conflist, install, parseIpam, uninstall } from "./install.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "margay-install-"));
});
afterEach(() => rmSync(root, { recursive: true }));

const options = () => ({
  binDir: join(root, "bin"),
  confDir: join(root, "conf"),
  relay: join(root, "relay"),
  margay: ["/bin/echo", "a'b"],
});
const mode = (path: string) => (statSync(join(root, path)).mode & 0o777).toString(8);

test("the relay under both names, and a configuration that only root reads; repeated, nothing else", () => {
  writeFileSync(join(root, "relay"), "machine code");
  for (let i = 0; i < 2; i++) install({ ...options(), socket: "/run/x.sock", mtu: 1400 });
  expect(readdirSync(join(root, "bin"))).toEqual(["margay-cni", "margay-ipam"]);
  expect(readFileSync(join(root, "bin/margay-ipam"), "utf8")).toBe("machine code");
  expect([mode("bin/margay-cni"), mode("conf/10-margay.conflist")]).toEqual(["755", "600"]);
  expect(JSON.parse(readFileSync(join(root, "conf/10-margay.conflist"), "utf8"))).toEqual({
    cniVersion: "1.0.0",
    cniVersions: ["1.0.0", "1.1.0"],
    name: "margay",
    plugins: [
      {
        type: "margay-cni",
        capabilities: { ips: true, mac: true, dns: true },
        ...{ socket: "/run/x.sock", mtu: 1400 },
      },
    ],
  });
});

test("without a compiled relay, a script that runs `margay cni`", () => {
  install(options());
  expect(execFileSync(join(root, "bin/margay-cni"), { encoding: "utf8" })).toBe("a'b cni\n");
});

test.each<[why: string, there: Record<string, string>, listed: string[], versions: string[] | undefined]>([
  ["nobody for host ports", {}, ["margay-cni"], ["1.0.0", "1.1.0"]],
  [
    "one that knows GC and STATUS",
    { portmap: 'echo \'{"supportedVersions":["1.0.0","1.1.0"]}\'' },
    ["margay-cni", "portmap"],
    ["1.0.0", "1.1.0"],
  ],
  [
    "one of before",
    { portmap: `echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}'` },
    ["margay-cni", "portmap"],
    undefined,
  ],
  ["one that cannot be asked", { portmap: "exit 1" }, ["margay-cni", "portmap"], undefined],
  ["limits are the agent's", { bandwidth: "exit 1" }, ["margay-cni"], ["1.0.0", "1.1.0"]],
])("plugins of others and versions: %s", (_why, there, listed, versions) => {
  mkdirSync(join(root, "bin"));
  for (const [name, script] of Object.entries(there))
    writeFileSync(join(root, "bin", name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  install(options());
  const conf = JSON.parse(readFileSync(join(root, "conf/10-margay.conflist"), "utf8"));
  expect(conf.plugins.map(({ type }: { type: string }) => type)).toEqual(listed);
  expect([conf.cniVersion, conf.cniVersions]).toEqual(["1.0.0", versions]);
});

test("annotations that pods may use, when they are asked for", () => {
  const [none] = (conflist({ binDir: "/nowhere" }) as { plugins: object[] }).plugins;
  expect(none).not.toHaveProperty("feature_control");
  const [first] = (conflist({ binDir: "/nowhere", features: ["floating_ips"] }) as { plugins: object[] })
    .plugins;
  expect(first).toMatchObject({ feature_control: { floating_ips: true } });
});

test.each<[why: string, plugin: string | undefined, versions: string[] | undefined]>([
  ["one that knows STATUS", `echo '{"supportedVersions":["1.0.0","1.1.0"]}'`, ["1.0.0", "1.1.0"]],
  ["one of before", `echo '{"supportedVersions":["1.0.0"]}'`, undefined],
  ["one that is not there yet: what it knows is not known", undefined, undefined],
])("another plugin gives addresses: %s", (_why, plugin, versions) => {
  mkdirSync(join(root, "bin"));
  if (plugin) writeFileSync(join(root, "bin/host-local"), `#!/bin/sh\n${plugin}\n`, { mode: 0o755 });
  install({ ...options(), ipam: parseIpam('{"type":"host-local","subnet":"usePodCidr"}') });
  const conf = JSON.parse(readFileSync(join(root, "conf/10-margay.conflist"), "utf8"));
  expect(conf.plugins[0].ipam).toEqual({ type: "host-local", subnet: "usePodCidr" });
  expect(conf.cniVersions).toEqual(versions);
});

test.each(["{", "null", '"host-local"', '{"subnet":"usePodCidr"}'])(
  "no plugin's configuration: %s",
  (text) => {
    expect(() => parseIpam(text)).toThrow();
  },
);

test("a runtime that looks all the time never sees half a file, or none", async () => {
  writeFileSync(join(root, "relay"), "x".repeat(1 << 20));
  install(options());
  for (let i = 0; i < 50; i++) {
    const looking = [
      readFile(join(root, "conf/10-margay.conflist"), "utf8"),
      readFile(join(root, "bin/margay-cni")),
    ];
    install(options());
    const [conf, relay] = await Promise.all(looking);
    expect([JSON.parse(`${conf}`).name, relay?.length]).toEqual(["margay", 1 << 20]);
    expect(readdirSync(join(root, "conf"))).toEqual(["10-margay.conflist"]);
  }
});

test("taken off, with what an interrupted installation left; others' files stay", () => {
  writeFileSync(join(root, "relay"), "machine code");
  install(options());
  const others = ["bin/portmap", "conf/05-other.conflist"];
  for (const path of [...others, "conf/.10-margay.conflist.new"]) writeFileSync(join(root, path), "");
  expect(uninstall(options())).toHaveLength(4);
  expect([readdirSync(join(root, "bin")), readdirSync(join(root, "conf"))]).toEqual([
    ["portmap"],
    ["05-other.conflist"],
  ]);
  expect(uninstall(options())).toEqual([]);
});

test("wherever taking off stops, no configuration names a plugin that is gone", () => {
  writeFileSync(join(root, "relay"), "machine code");
  for (const name of ["margay-cni", "margay-ipam"]) {
    install(options());
    rmSync(join(root, "bin", name));
    mkdirSync(join(root, "bin", name)); // which cannot be removed as a file
    expect(() => uninstall(options())).toThrow();
    expect(readdirSync(join(root, "conf"))).toEqual([]);
    rmSync(join(root, "bin", name), { recursive: true });
  }
});
