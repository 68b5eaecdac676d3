import { setTimeout as delay } from "node:timers/promises";
import { StoreError } from "@margay/datastore";
import { IpamError } from "@margay/ipam";

/** Each takes the client's five seconds where etcd gets no processor. */
const MAX_TRIES = 20;

/** Does it again while etcd does not answer: a starved machine is no violation. What is done again must be harmless then. */
export async function patiently<T>(act: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await act();
    } catch (error) {
      if (!isAway(error) || tries === MAX_TRIES) throw error;
      await delay(1000);
    }
  }
}

export const isAway = (error: unknown): boolean =>
  error instanceof IpamError
    ? error.code === "datastore" // not "contention": a livelock is a violation
    : error instanceof StoreError && error.code === "unavailable";
