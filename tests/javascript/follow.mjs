// Follows a task to its end, with an iterator and with a handler, and tells what came as one JSON line.
import { WebSocketClient } from "@lastseen/client";
import { events } from "@lastseen/client/events";
import WebSocket from "ws";

const [url, token, task] = process.argv.slice(2);
let connections = 0;
let handled = "";
let gaps = 0;
const client = new WebSocketClient({ url, token: async () => token, reconnectDelay: 50, WebSocket });
client.on("connected", () => {
  connections += 1;
  console.log(`connected ${connections}`);
});
client.on("gap", () => {
  gaps += 1;
});
client.on("error", (error) => console.error(error));
client.on("task_output", (event) => {
  if (event.task_id === task) handled += event.data.text;
});

await client.connect();
let text = "";
for await (const event of events(client, `task:${task}`, { after: "earliest", maxBuffered: 50 })) {
  if (event.type === "task_output") {
    text += event.data.text;
    console.log(`shown ${text.length}`);
  }
}
let told = "";
for await (const event of client.history(`task:${task}`, { types: ["task_output"], pageSize: 100 })) told += event.data.text;
client.disconnect();
console.log(`result ${JSON.stringify({ text, handled, told, connections, gaps })}`);
