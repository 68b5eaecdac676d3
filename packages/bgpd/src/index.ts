export * from "./config.ts";
export { Speaker, type SpeakerOptions } from "./speaker.ts";
