import { spawnSync } from "node:child_process";

const inside = "MARGAY_BENCH_NAMESPACE";

/** Runs `work` in a network namespace of its own with its loopback up: this program is started again there, with the same arguments. */
export async function inOwnNetwork(work: () => Promise<void>): Promise<void> {
  if (process.env[inside]) {
    spawnSync("ip", ["link", "set", "lo", "up"]);
    return work();
  }
  const program = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const env = { ...process.env, [inside]: "1" };
  const { status } = spawnSync("unshare", ["-rn", "--kill-child", "--", ...program], {
    stdio: "inherit",
    env,
  });
  process.exitCode = status ?? 1;
}
