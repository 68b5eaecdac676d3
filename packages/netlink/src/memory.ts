import { check } from "./error.ts";
import { native } from "./native.ts";

/**
 * Lets go of the resident pages of files that this process only reads: its program text above all, most of which start-up
 * alone has used. The page cache keeps them, so what is needed again comes back without reading a disk.
 * @returns kB let go of. NetlinkError when /proc cannot be read.
 */
export const releaseFilePages = (): number => check(native().releaseFilePages(), "release file pages");
