import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { install } from "./install.ts";

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
    name: "margay",
    plugins: [
      { type: "margay-cni", socket: "/run/x.sock", mtu: 1400 },
      { type: "portmap", snat: true, capabilities: { portMappings: true } },
    ],
  });
});

test("without a compiled relay, a script that runs `margay cni`", () => {
  install(options());
  expect(execFileSync(join(root, "bin/margay-cni"), { encoding: "utf8" })).toBe("a'b cni\n");
});
