-- Loads the snippet of the docs, converts a log with its command and tells what the user was shown.
-- nvim --headless -u NONE -l neovim.lua SNIPPET LOG RESULT

local snippet, log, result = arg[1], arg[2], arg[3]
local shown, progress = {}, {}

vim.notify = function(message)
  table.insert(shown, message)
end
local echo = vim.api.nvim_echo
vim.api.nvim_echo = function(chunks, ...)
  table.insert(progress, chunks[1][1])
  return echo(chunks, ...)
end

dofile(snippet)

-- Until the sidecar is initialized it refuses, and the snippet shows that.
local function convert()
  local before = #shown
  vim.cmd("HephaesConvert " .. vim.fn.fnameescape(log))
  vim.wait(60000, function()
    return #shown > before
  end, 20)
  return shown[#shown]
end

local last = convert()
while last:find("initialize") do
  vim.wait(100)
  last = convert()
end
vim.api.nvim_exec_autocmds("VimLeavePre", {})

vim.fn.writefile({ vim.json.encode({ last = last, progress = progress }) }, result)
