// The `ws` of Node.js: `send` to one client after the other, as its own example of a broadcast does.

import { createInterface } from "node:readline";
import { WebSocketServer } from "ws";

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, backlog: 1024, perMessageDeflate: false });

server.on("listening", () => console.log(server.address().port));
server.on("connection", (client) => client.send("welcome"));

createInterface({ input: process.stdin })
    .on("line", (line) => {
        for (const text of JSON.parse(line)) for (const client of server.clients) client.send(text);
    })
    .on("close", () => process.exit(0));
