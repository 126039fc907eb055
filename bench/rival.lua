-- nginx's side of the comparison: an HS256 token checked on each request, rows filtered, items kept and masked.
-- No receipt, no quota, no agreement that could change while it runs.
local ffi, cjson, bit = require "ffi", require "cjson.safe", require "bit"
ffi.cdef [[
const void *EVP_sha256(void);
unsigned char *HMAC(const void *md, const void *key, int key_len, const unsigned char *d, size_t n, unsigned char *out, unsigned int *out_len);
]]
local crypto = ffi.load("libcrypto.so.3")
local rival, secret = {}, "a secret of thirty-two bytes, yes"
local out, out_len = ffi.new("unsigned char[32]"), ffi.new("unsigned int[1]")

local function decoded(text)
    text = text:gsub("-", "+"):gsub("_", "/")
    return ngx.decode_base64(text .. ("="):rep(-#text % 4))
end

function rival.check()
    local token = (ngx.var.http_authorization or ""):match("^Bearer (.+)$")
    local signed, signature = (token or ""):match("^(.+)%.([^.]+)$")
    if not signed then return ngx.exit(401) end
    crypto.HMAC(crypto.EVP_sha256(), secret, #secret, signed, #signed, out, out_len)
    local claims = cjson.decode(decoded(signed:match("%.(.+)$")) or "")
    if ffi.string(out, 32) ~= decoded(signature) or not claims or claims.exp < ngx.time() then return ngx.exit(401) end
end

local kept = { "name", "credit_code", "status", "capital", "legal_person_id", "founded", "district" }

function rival.filter()
    local held = ngx.ctx.held or {}
    held[#held + 1], ngx.ctx.held = ngx.arg[1], held
    if not ngx.arg[2] then ngx.arg[1] = nil return end
    local page, left = cjson.decode(table.concat(held)), {}
    for _, record in ipairs(page.data) do
        if record.status == "valid" then
            local one = {}
            for _, name in ipairs(kept) do one[name] = record[name] end
            local id = one.legal_person_id
            one.legal_person_id = ("*"):rep(#id - 4) .. id:sub(-4)
            one.founded, one.district = one.founded:sub(1, 4), one.district:sub(1, 4)
            left[#left + 1] = one
        end
    end
    ngx.arg[1] = cjson.encode(left)
end

return rival
