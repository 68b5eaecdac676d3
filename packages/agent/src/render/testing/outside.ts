import { run, withoutDad } from "./pods.ts";

/** A host outside, in the namespace `far`, which routes all to the node. */
export const FAR = { 4: "192.0.2.2", 6: "fd00:2::2" } as const;

/** Makes it, on a cable to the node's eth0. */
export function outside(): void {
  run("ip netns add far");
  withoutDad("far");
  run("ip link add eth0 type veth peer name eth0 netns far");
  for (const [at, last] of [
    ["", 1],
    ["-n far ", 2],
  ] as const) {
    run(`ip ${at}addr add 192.0.2.${last}/24 dev eth0`);
    run(`ip ${at}addr add fd00:2::${last}/64 dev eth0 nodad`);
    for (const device of ["lo", "eth0"]) run(`ip ${at}link set ${device} up`);
  }
  run("ip -n far route add default via 192.0.2.1");
  run("ip -n far -6 route add default via fd00:2::1");
}
