// A machine client by oauth4webapi: discovery, private_key_jwt, a token, one call; with DPoP where asked.
// Arguments: the service's URL, the client's name, the algorithm, "bound" or "bearer". Its key comes on stdin (JWK).
import * as oauth from 'oauth4webapi'

const [url, clientId, algorithm, kind] = process.argv.slice(2)
const usage = { ES256: { name: 'ECDSA', namedCurve: 'P-256' }, PS256: { name: 'RSA-PSS', hash: 'SHA-256' }, EdDSA: { name: 'Ed25519' } }
let written = ''
for await (const part of process.stdin) written += part
const jwk = JSON.parse(written)
const key = await crypto.subtle.importKey('jwk', jwk, usage[algorithm], false, ['sign'])
const local = { [oauth.allowInsecureRequests]: true } // http on the loopback interface

const issuer = new URL(url)
const found = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...local })
const server = await oauth.processDiscoveryResponse(issuer, found)
const client = { client_id: clientId }
const proof = kind === 'bound' ? oauth.DPoP(client, await oauth.generateKeyPair(algorithm === 'EdDSA' ? 'Ed25519' : algorithm)) : undefined
const authentication = oauth.PrivateKeyJwt({ key, kid: jwk.kid })
const asked = new URLSearchParams({ scope: 'catalog' })
const answer = await oauth.clientCredentialsGrantRequest(server, client, authentication, asked, { DPoP: proof, ...local })
const token = await oauth.processClientCredentialsResponse(server, client, answer)
const me = new URL('/api/v1/me', url)
const options = { DPoP: proof, ...local }
const response = await oauth.protectedResourceRequest(token.access_token, 'GET', me, undefined, undefined, options)
console.log(JSON.stringify({ type: token.token_type, scope: token.scope, me: await response.json() }))
