-- One `tools/call` after the other, for wrk. ERA is `old` (2025-11-25) or `new` (2026-07-28).
local arguments = '"name":"roll_dice","arguments":{"n_dice":3}'
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Accept"] = "application/json, text/event-stream"
if os.getenv("ERA") == "new" then
  wrk.headers["MCP-Protocol-Version"] = "2026-07-28"
  wrk.headers["Mcp-Method"] = "tools/call"
  wrk.headers["Mcp-Name"] = "roll_dice"
  arguments = arguments .. ',"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",' ..
    '"io.modelcontextprotocol/clientInfo":{"name":"wrk","version":"1"},' ..
    '"io.modelcontextprotocol/clientCapabilities":{}}'
else
  wrk.headers["MCP-Protocol-Version"] = "2025-11-25"
end
if os.getenv("INITIALIZE") then
  wrk.headers["MCP-Protocol-Version"] = nil
  wrk.body = '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25",' ..
    '"capabilities":{},"clientInfo":{"name":"wrk","version":"1"}}}'
else
  wrk.body = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{' .. arguments .. '}}'
end
if os.getenv("TOKEN") then
  wrk.headers["Authorization"] = "Bearer " .. os.getenv("TOKEN")
end
