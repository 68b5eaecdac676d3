import { execFileSync } from "node:child_process";
import { expect, test } from "@jest/globals";

/** Who is root in a user namespace only can install nothing. */
test("Debian packages that are missing: without root the line that installs them is said", () => {
  const script = `
    import { debianPackages } from ${JSON.stringify(new URL("debian.mjs", import.meta.url))};
    await debianPackages("/dev/null", { "margay-none": "margay-none", "margay-other": undefined }).catch(({ message }) => console.log(message));`;
  const words = ["--user", "--map-root-user", process.execPath, "--input-type=module", "-e", script];
  expect(execFileSync("unshare", words, { encoding: "utf8" })).toBe(
    "Debian packages are missing; as root: apt-get update && apt-get install -y --no-install-recommends margay-none margay-other\n",
  );
});
