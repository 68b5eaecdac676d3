import { sha256 } from "../selector/sha256.ts";

const LONGEST = 253;
const HASH_BYTES = 8;

/** The name of what is made from an object; a hash takes the place of its end where it would be too long. */
export const storedName = (prefix: string, name: string): string => shortened(`${prefix}${name}`, LONGEST);

/** A text of `longest` characters at most: the end of a longer one is replaced by a hash of the whole. */
export function shortened(text: string, longest: number): string {
  if (text.length <= longest) return text;
  const hash = [...sha256(new TextEncoder().encode(text)).subarray(0, HASH_BYTES)];
  const hex = hash.map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${text.slice(0, longest - hex.length)}${hex}`;
}
