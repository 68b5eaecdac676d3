// What gcc builds: the netlink addon and the CNI relay.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { ADDON, DIST, ROOT, stale } from "./outputs.mjs";
import { must, run, SetupError } from "./progress.mjs";

const NODE = join(ROOT, "node_modules/.bin/node");
const RELAY = join(DIST, "margay-cni");
const NATIVE = join(ROOT, "packages/netlink/native");
const CNI_RELAY = join(ROOT, "packages/cni/relay/relay.c");

/** The C addon of packages/netlink. @returns false when up to date */
export async function addon(log) {
  if (!stale([ADDON], [join(NATIVE, "margay-netlink.c")])) return false;
  await needGcc();
  await must(NODE, [join(NATIVE, "build.mjs")], { cwd: ROOT, log, what: "building the netlink addon" });
}

/** The static relay that the container runtime executes. @returns false when up to date */
export async function relay(log) {
  if (!stale([RELAY], [CNI_RELAY])) return false;
  await needGcc();
  mkdirSync(DIST, { recursive: true });
  await must("gcc", ["-static", "-Os", "-s", "-o", RELAY, CNI_RELAY], {
    log,
    what: "building the CNI relay",
  });
}

async function needGcc() {
  const { code } = await run("gcc", ["--version"]).catch(() => ({ code: 1 })); // not there at all
  if (code !== 0) throw new SetupError("gcc does not work; as root: apt-get install -y gcc libc6-dev");
}
