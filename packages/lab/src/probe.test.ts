import { execFileSync } from "node:child_process";
import { expect, test } from "@jest/globals";
import { unshared } from "@margay/testing";
import { type Party, Prober, Responder } from "./probe.ts";

const here: Party = { name: "here", namespacePath: "/proc/self/ns/net", addresses: ["127.0.0.1"] };
const standStill = (ms: number) => {
  for (const end = performance.now() + ms; performance.now() < end; );
};

unshared(import.meta.url, () => {
  test.each(["tcp", "udp"] as const)(
    "an answer that came while the machine stood still is one: %s",
    async (protocol) => {
      execFileSync("ip", ["link", "set", "lo", "up"]);
      const responder = await Responder.open(here, [80]);
      try {
        const answer = new Prober().ask(here, here, { family: 4, protocol, port: 80 });
        standStill(1600); // longer than anybody is waited for
        expect(await answer).toBe("reached");
      } finally {
        responder.close();
      }
    },
  );
});
