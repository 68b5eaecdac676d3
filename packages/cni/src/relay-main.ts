import { serveStdio } from "./stdio.ts";

// The plugin where no compiler built relay/relay.c.
await serveStdio();
