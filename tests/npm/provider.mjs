// An identity provider by oidc-provider, on the port and with the callback and algorithm given; prints "ready".
import * as oidc from 'oidc-provider'
import { generateKeyPairSync } from 'node:crypto'

const [port, callback, algorithm, secret, agency] = process.argv.slice(2)
const kinds = {
  ES256: ['ec', { namedCurve: 'P-256' }], EdDSA: ['ed25519', {}], PS256: ['rsa', { modulusLength: 2048 }], RS256: ['rsa', { modulusLength: 2048 }],
}
const key = generateKeyPairSync(...kinds[algorithm]).privateKey.export({ format: 'jwk' })
const issuer = `http://127.0.0.1:${port}`
const provider = new oidc.Provider(issuer, {
  clients: [{
    client_id: 'zhengtong', client_secret: secret, redirect_uris: [callback], response_types: ['code'],
    grant_types: ['authorization_code'], id_token_signed_response_alg: algorithm, token_endpoint_auth_method: 'client_secret_basic',
  }],
  jwks: { keys: [{ ...key, use: 'sig', alg: algorithm, kid: 'k1' }] },
  enabledJWA: { idTokenSigningAlgValues: ['ES256', 'PS256', 'EdDSA', 'RS256'] },
  conformIdTokenClaims: false,
  claims: { openid: ['sub'], profile: ['preferred_username', 'name', 'agency', 'roles'] },
  pkce: { required: () => true },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, preferred_username: 'li.min', name: '李敏', agency, roles: ['office-clerks'] }),
  }),
})
provider.proxy = false
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'))
