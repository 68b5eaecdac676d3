/** What set-up does when npm is killed, which runs it through a shell that outlives it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "@jest/globals";

const dir = mkdtempSync(join(tmpdir(), "margay-foreground-"));
const go = join(dir, "go");
/** Set-up, which works until there is a file. */
const script = `
  import { existsSync } from "node:fs";
  import { setTimeout as sleep } from "node:timers/promises";
  import { foreground } from ${JSON.stringify(new URL("foreground.mjs", import.meta.url))};
  process.stdout.write("begun");
  while (!existsSync(${JSON.stringify(go)})) await sleep(20);
  await foreground(["sleep", "1000"]);
`;

test("npm is killed while set-up works: what set-up then starts is ended", async () => {
  const npm = spawn("sh", ["-c", `sh -c '"$NODE" --input-type=module -e "$SCRIPT"; true'; true`], {
    env: { ...process.env, npm_lifecycle_event: "start", NODE: process.execPath, SCRIPT: script },
    stdio: ["ignore", "pipe", "inherit"],
    detached: true, // a group, to be ended as one should this fail
  });
  let isLate = false;
  const late = setTimeout(() => {
    isLate = true;
    if (npm.pid) process.kill(-npm.pid, "SIGKILL");
  }, 200_000);
  const [told] = await once(npm.stdout, "data");
  expect(String(told)).toBe("begun");
  npm.kill("SIGKILL");
  await once(npm, "exit");
  const closed = once(npm, "close"); // nobody holds its output any more
  writeFileSync(go, "");
  await closed;
  expect(isLate).toBe(false);
  clearTimeout(late);
  rmSync(dir, { recursive: true });
});
