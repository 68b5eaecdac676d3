import type { RouteTable } from "./kernel.ts";

/** Of a speaker that only passes routes on: nothing is read or written, and every next hop is as near as the next. */
export const noKernel = (): RouteTable => ({
  isWritten: false,
  hopsTo: () => undefined,
  cost: () => 0,
  hasOldRoutes: false,
  isSettled: true,
  size: 0,
  counts: { repairs: 0, errors: 0 },
  want() {},
  setGateways() {},
  start() {},
  release() {},
  refusal: () => undefined,
  wanted: () => undefined,
  stop: async () => {},
});
