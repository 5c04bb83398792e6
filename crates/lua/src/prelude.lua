-- The methods that wait: they leave the script's coroutine with what they want, and come back with the answer.
local may_wait, has_info, stream_info, connection, body = ...
local yield, running = coroutine.yield, coroutine.running

local function come(refused, ...)
  if refused then
    error(refused, 2)
  end
  return ...
end

local function wait(handle, what, ...)
  may_wait(handle, running())
  return come(yield(what, ...))
end

local function known(handle)
  if not has_info(handle) then
    wait(handle, "info")
  end
end

return {
  body = function(handle, always)
    return body(handle) or wait(handle, "body", always)
  end,
  bodyChunks = function(handle)
    return function()
      return wait(handle, "chunk")
    end
  end,
  trailers = function(handle)
    return wait(handle, "trailers")
  end,
  httpCall = function(handle, ...)
    return wait(handle, "call", ...)
  end,
  respond = function(handle, headers, text)
    return wait(handle, "respond", headers, text)
  end,
  streamInfo = function(handle)
    known(handle)
    return stream_info(handle)
  end,
  connection = function(handle)
    known(handle)
    return connection(handle)
  end,
  connectionStreamInfo = function(handle)
    known(handle)
    return connection(handle)
  end,
}
