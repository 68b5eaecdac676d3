import { sha256 } from "../selector/sha256.ts";

const LONGEST = 253;
const HASH_BYTES = 8;

/** The name of what is made from an object; a hash takes the place of its end where it would be too long. */
export function storedName(prefix: string, name: string): string {
  const whole = `${prefix}${name}`;
  if (whole.length <= LONGEST) return whole;
  const hash = [...sha256(new TextEncoder().encode(whole)).subarray(0, HASH_BYTES)];
  const hex = hash.map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${whole.slice(0, LONGEST - hex.length)}${hex}`;
}
