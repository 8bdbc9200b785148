-- Verifies HS256 tokens with OpenSSL's HMAC through LuaJIT's FFI. Verified tokens are remembered for a minute at most, as this gateway
-- does; the cache is lua-resty-lrucache, one per worker.
local ffi = require "ffi"
local cjson = require "cjson.safe"
local lrucache = require "resty.lrucache"

ffi.cdef [[
typedef struct evp_md_st EVP_MD;
const EVP_MD *EVP_sha256(void);
unsigned char *HMAC(const EVP_MD *md, const void *key, int key_len, const unsigned char *d, size_t n, unsigned char *out, unsigned int *out_len);
int CRYPTO_memcmp(const void *a, const void *b, size_t len);
]]
local C = ffi.C
local sha256 = C.EVP_sha256()
local digest = ffi.new("unsigned char[32]")
local digest_bytes = ffi.new("unsigned int[1]")

local function decode(text)
    text = text:gsub("-", "+"):gsub("_", "/")
    local rest = #text % 4
    if rest > 0 then
        text = text .. ("="):rep(4 - rest)
    end
    return ngx.decode_base64(text)
end

local function verify(secret, token)
    local head, payload, signature = token:match("^([%w_-]+)%.([%w_-]+)%.([%w_-]+)$")
    if not head then
        return nil
    end
    local header = cjson.decode(decode(head) or "")
    if type(header) ~= "table" or header.alg ~= "HS256" then
        return nil
    end
    local signed = head .. "." .. payload
    C.HMAC(sha256, secret, #secret, signed, #signed, digest, digest_bytes)
    local given = decode(signature)
    if not given or #given ~= 32 or C.CRYPTO_memcmp(given, digest, 32) ~= 0 then
        return nil
    end
    local claims = cjson.decode(decode(payload) or "")
    if type(claims) ~= "table" or type(claims.exp) ~= "number" then
        return nil
    end
    return {
        expires = claims.exp,
        organization = tostring(claims.organization_id or ""),
        user = tostring(claims.user_id or claims.sub or ""),
        role = tostring(claims.role or ""),
    }
end

local gateway = {}

function gateway.new(secret)
    local cache = assert(lrucache.new(16384))

    local function identify()
        local field = ngx.var.http_authorization
        local token = field and field:sub(1, 7) == "Bearer " and field:sub(8)
        local now = ngx.time()
        local identity = token and cache:get(token)
        if token and not identity then
            identity = verify(secret, token)
            if identity and identity.expires > now then
                cache:set(token, identity, math.min(60, identity.expires - now))
            end
        end
        if not identity or identity.expires <= now then
            ngx.status = 401
            ngx.header["Content-Type"] = "application/json"
            ngx.header["WWW-Authenticate"] = "Bearer"
            ngx.say('{"error":"Unauthorized"}')
            return ngx.exit(401)
        end
        local var = ngx.var
        var.organization = identity.organization
        var.user = identity.user
        var.role = identity.role
    end

    return { identify = identify }
end

return gateway
