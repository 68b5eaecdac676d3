import pc from "picocolors";

/**
 * Coloured on a terminal or when FORCE_COLOR says so, plain in a pipe and with NO_COLOR. Not picocolors' own guess,
 * which takes a CI's pipe for a terminal.
 */
const coloursOf = (out: { readonly isTTY?: boolean }): ReturnType<typeof pc.createColors> =>
  pc.createColors(!process.env.NO_COLOR && (Boolean(process.env.FORCE_COLOR) || out.isTTY === true));

/** For the report. */
export const pcOut = coloursOf(process.stdout);
/** For progress and complaints. */
export const pcErr = coloursOf(process.stderr);
