/** Bytes of hex text; spaces and bars are for the reader. */
export const fromHex = (text: string): Uint8Array =>
  Uint8Array.from(text.replace(/[\s|]/g, "").match(/../g) ?? [], (h) => Number.parseInt(h, 16));

export const toHex = (bytes: Uint8Array): string =>
  [...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");

/** The marker of RFC 4271 §4.1. */
export const marker = "ff".repeat(16);
