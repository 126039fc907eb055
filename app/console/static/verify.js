/* Follows an inclusion proof in the reader's own browser: nothing of it is believed from the server but the bytes.
   RFC 6962 §2.1.1 for the tree, C2SP signed-note and Ed25519 for the checkpoint. */
(async () => {
  const place = document.getElementById('verify')
  if (!place) return
  const proof = JSON.parse(place.dataset.proof), words = JSON.parse(place.dataset.words), out = place.querySelector('ol')
  const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0))
  const printed = data => btoa(String.fromCharCode(...data))
  const sha = async (...parts) => {
    const all = new Uint8Array(parts.reduce((n, part) => n + part.length, 0))
    parts.reduce((at, part) => (all.set(part, at), at + part.length), 0)
    return new Uint8Array(await crypto.subtle.digest('SHA-256', all))
  }
  const tell = (what, value, holds) => {
    const line = document.createElement('li')
    line.append(Object.assign(document.createElement('strong'), { textContent: what }))
    if (holds !== undefined) {
      line.append(' ', Object.assign(document.createElement('span'), { className: holds ? 'tag go' : 'tag stop', textContent: holds ? words.holds : words.fails }))
    }
    if (value) line.append(document.createElement('br'), Object.assign(document.createElement('code'), { textContent: value }))
    out.append(line)
  }
  const same = (a, b) => a.length === b.length && a.every((byte, n) => byte === b[n])
  place.querySelector('button').addEventListener('click', async event => {
    event.target.disabled = true
    out.textContent = ''
    const [text, signatures] = proof.checkpoint.split('\n\n'), [origin, size, root] = text.split('\n')
    let node = await sha(new Uint8Array([0]), new TextEncoder().encode(proof.leaf))
    tell(words.leaf, printed(node))
    const sides = []
    for (let start = 0, end = Number(size); end - start > 1;) {
      let half = 1
      while (half * 2 < end - start) half *= 2
      const left = proof.position >= start + half
      sides.push(left)
      if (left) start += half
      else end = start + half
    }
    sides.reverse()
    for (const [n, neighbour] of proof.path.entries()) {
      node = sides[n] ? await sha(new Uint8Array([1]), bytes(neighbour), node) : await sha(new Uint8Array([1]), node, bytes(neighbour))
      tell(words.fold.replace('{n}', n + 1), printed(node))
    }
    const inTree = sides.length === proof.path.length && printed(node) === root
    tell(words.root, root, inTree)
    let signed = false
    try {
      const line = signatures.split('\n').find(one => one.startsWith('— ' + origin + ' '))
      const key = await crypto.subtle.importKey('raw', bytes(proof.key), 'Ed25519', false, ['verify'])
      signed = await crypto.subtle.verify('Ed25519', key, bytes(line.split(' ')[2]).slice(4), new TextEncoder().encode(text + '\n'))
      tell(words.signature, proof.key, signed)
    } catch (error) {
      tell(words.unable, String(error))
    }
    if (proof.content) {
      const hash = Array.from(await sha(new TextEncoder().encode(proof.content)), b => b.toString(16).padStart(2, '0')).join('')
      tell(words.content, hash, hash === JSON.parse(proof.leaf).content_sha256 || proof.leaf.includes(hash))
    }
    const end = place.querySelector('[role=status]')
    end.className = inTree && signed ? 'note done' : 'note wrong'
    end.textContent = inTree && signed ? words.all : words.not
  })
  place.hidden = false
})()
