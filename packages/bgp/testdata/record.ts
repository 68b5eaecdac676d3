/** Answers one BGP connection on 192.0.2.1 and prints what the peer sends: a comment, then one message in hex per line. */
import { createServer } from "node:net";
import { Framer, writeMessage } from "../src/index.ts";

const [, , version = "unknown"] = process.argv;
const server = createServer((socket) => {
  const framer = new Framer();
  socket.write(
    writeMessage({
      kind: "open",
      as: 65000,
      holdTimeSeconds: 90,
      bgpId: 0xc0000201,
      capabilities: {
        families: [4, 6],
        as4: 65000,
        routeRefresh: true,
        enhancedRouteRefresh: true,
        extendedMessage: true,
        gracefulRestart: { restarting: false, restartTimeSeconds: 120, families: [{ family: 4, forwarding: true }, { family: 6, forwarding: true }] },
      },
    }),
  );
  socket.on("data", (chunk) => {
    for (const { type, body } of framer.push(chunk)) {
      const length = (body.length + 19).toString(16).padStart(4, "0");
      const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
      process.stdout.write(`${"ff".repeat(16)} ${length} ${hex(Uint8Array.of(type))} ${hex(body)}\n`.replace(/ \n/, "\n"));
      if (type === 1) socket.write(writeMessage({ kind: "keepalive" }));
    }
  });
  socket.on("close", () => server.close());
  socket.on("error", () => server.close());
});
server.listen(179, "192.0.2.1", () =>
  process.stdout.write(`# ${version}, recorded by record.sh; we are AS 65000\n`),
);
