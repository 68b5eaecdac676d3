import { execFileSync } from "node:child_process";
import { expect, test } from "@jest/globals";
import { unshared } from "@margay/testing";
import { setSizes } from "./index.ts";

const restore = (...lines: readonly string[]) =>
  execFileSync("ipset", ["restore"], { input: lines.map((line) => `${line}\n`).join("") });

unshared(import.meta.url, () => {
  test("sizes of sets, of any type and family, as others leave them", async () => {
    expect(await setSizes()).toEqual(new Map());
    const many = Array.from({ length: 500 }, (_, n) => `create s${n} hash:net`); // more than one datagram
    restore("create four hash:net", "create six hash:ip,port family inet6", ...many);
    restore("add four 10.0.0.0/8", "add four 192.0.2.1", "add six fd00::1,tcp:80");
    const sizes = await setSizes();
    expect(sizes.size).toBe(502);
    expect([sizes.get("four"), sizes.get("six"), sizes.get("s499")]).toEqual([2, 1, 0]);
    execFileSync("ipset", ["flush", "four"]);
    execFileSync("ipset", ["destroy", "six"]);
    const after = await setSizes();
    expect([after.get("four"), after.get("six")]).toEqual([0, undefined]);
  });
});
