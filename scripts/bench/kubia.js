// The kubia server as a Node.js author would write it: one log line and one answer per request.
const http = require("node:http");
const os = require("node:os");

const server = http.createServer((request, response) => {
  console.log("Received request from " + request.socket.remoteAddress);
  response.writeHead(200);
  response.end(`You've hit ${os.hostname()} on this node: ${process.env.nodename}\n`);
});
console.log("Kubia server starting...");
server.listen(Number(process.argv[2]), "127.0.0.1");
