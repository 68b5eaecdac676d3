import type { Rule } from "@margay/iptables";
import type { RenderConfig } from "./config.ts";

/** Words and rules about what our marks say of a packet: allowed by a policy, passed to the next tier. */
export const notPassed = ({ pass }: RenderConfig): string[] => ["-m", "mark", "--mark", `0x0/${pass}`];

/** Whoever was called goes back to where it was called from, if a policy allowed the packet. */
export const backIfAllowed = ({ accept }: RenderConfig): Rule => ({
  match: ["-m", "mark", "--mark", `${accept}/${accept}`],
  target: ["-j", "RETURN"],
});

export const setMark = (bit: string): Rule => ({
  match: [],
  target: ["-j", "MARK", "--set-xmark", `${bit}/${bit}`],
});

export const clear = (bits: string): Rule => ({
  match: [],
  target: ["-j", "MARK", "--set-xmark", `0x0/${bits}`],
});
