import { parentPort } from "node:worker_threads";
import { Netlink } from "@margay/netlink";
import { wire } from "./wire.ts";
import { refusalOf, type WiringAnswer, type WiringCall } from "./wiring-message.ts";

/** The thread that makes pods' interfaces, one after the other: see `WiringThread`. */
const nl = Netlink.open();

parentPort?.on("message", async ({ id, wiring }: WiringCall) => {
  const answer = await wire(nl, wiring).then(
    (): WiringAnswer => ({ id }),
    (error): WiringAnswer => ({ id, refused: refusalOf(error) }),
  );
  parentPort?.postMessage(answer);
});
