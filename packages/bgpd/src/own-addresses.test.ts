import { afterAll, beforeAll, test } from "@jest/globals";
import { parseAddress } from "@margay/net";
import { unshared } from "@margay/testing";
import { OwnAddresses } from "./own-addresses.ts";
import { eventually, run } from "./testing/bird.ts";
import { quiet } from "./testing/speakers.ts";

unshared(import.meta.url, () => {
  let addresses: OwnAddresses;
  beforeAll(() => {
    run("ip link set lo up; ip addr add 169.254.0.179/32 dev lo");
    addresses = new OwnAddresses(quiet);
  });
  afterAll(() => addresses.stop());
  const onLo = () => run("ip -o addr show dev lo").match(/(169\.254|fd12)\S+/g);
  const set = (...texts: string[]) => addresses.set(new Map(texts.map((text) => [text, parseAddress(text)])));

  test("an address that somebody put on lo stays theirs; ours comes when they take it away", async () => {
    set("169.254.0.179", "fd12::1");
    await eventually(onLo, ["169.254.0.179/32", "fd12::1/128"]);
    set("169.254.0.179");
    await eventually(onLo, ["169.254.0.179/32"]);
    set();
    set("fd12::1");
    await eventually(onLo, ["169.254.0.179/32", "fd12::1/128"]);
    set("169.254.0.179");
    run("ip addr del 169.254.0.179/32 dev lo");
    await eventually(onLo, ["169.254.0.179/32"]);
    set();
    await eventually(onLo, null);
  });
});
