// Verifier checks a running log with packages that others wrote: tiles and proofs with golang.org/x/mod/sumdb/tlog,
// signatures with golang.org/x/mod/sumdb/note, cosignatures with github.com/transparency-dev/formats/note.
//
//	verifier keys NAME                          make a witness's keys, print secret and public one
//	verifier URL check VKEY [WITNESS-VKEY...]   verify everything that is served, print what was verified as JSON
//	verifier URL cosign VKEY WITNESS-SKEY       verify the checkpoint, print it with the witness's cosignature
package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"

	witness "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

var base string

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func get(path string) []byte {
	answer := must(http.Get(base + path))
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		log.Fatalf("%s: %s", path, answer.Status)
	}
	return must(io.ReadAll(answer.Body))
}

// tiles reads tiles of height 8 as C2SP tlog-tiles addresses them; tlog's own paths name the height first.
type tiles struct{ read int }

func (t *tiles) Height() int { return 8 }

func (t *tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (t *tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range wanted {
		t.read++
		found = append(found, get("/ledger/"+strings.Replace(tile.Path(), "tile/8/", "tile/", 1)))
	}
	return found, nil
}

func checkpoint(verifiers ...note.Verifier) (*note.Note, tlog.Tree) {
	signed := must(note.Open(get("/ledger/checkpoint"), note.VerifierList(verifiers...)))
	lines := strings.Split(signed.Text, "\n")
	if lines[0] != verifiers[0].Name() || len(lines) != 4 {
		log.Fatalf("not a checkpoint: %q", signed.Text)
	}
	return signed, tlog.Tree{N: must(strconv.ParseInt(lines[1], 10, 64)), Hash: must(tlog.ParseHash(lines[2]))}
}

func entries(tree tlog.Tree) [][]byte {
	var all [][]byte
	for first := int64(0); first < tree.N; first += 256 {
		tile := tlog.Tile{H: 8, L: 0, N: first / 256, W: int(min(256, tree.N-first))}
		bundle := get("/ledger/" + strings.Replace(tile.Path(), "tile/8/0/", "tile/entries/", 1))
		for len(bundle) > 0 {
			length := int(binary.BigEndian.Uint16(bundle))
			all = append(all, bundle[2:2+length])
			bundle = bundle[2+length:]
		}
	}
	return all
}

func hashes(path []string) []tlog.Hash {
	var found []tlog.Hash
	for _, node := range path {
		found = append(found, must(tlog.ParseHash(node)))
	}
	return found
}

type inclusion struct {
	Leaf       string
	Position   int64
	Path       []string
	Checkpoint string
}

// checkProof asks for the service's own inclusion proof and verifies it against the checkpoint that comes with it.
func checkProof(entry []byte, tree tlog.Tree, key note.Verifier) {
	var told struct{ Id string }
	if err := json.Unmarshal(entry, &told); err != nil {
		log.Fatal(err)
	}
	var proof inclusion
	if err := json.Unmarshal(get("/api/v1/ledger/entries/"+told.Id+"/proof"), &proof); err != nil {
		log.Fatal(err)
	}
	must(note.Open([]byte(proof.Checkpoint), note.VerifierList(key)))
	if proof.Leaf != string(entry) {
		log.Fatalf("entry %s: another leaf", told.Id)
	}
	path := tlog.RecordProof(hashes(proof.Path))
	if err := tlog.CheckRecord(path, tree.N, tree.Hash, proof.Position, tlog.RecordHash(entry)); err != nil {
		log.Fatalf("entry %s: %v", told.Id, err)
	}
}

// checkGrowth verifies the service's consistency proof from an older size; the old root comes from the tiles.
func checkGrowth(old int64, tree tlog.Tree, reader tlog.HashReader) {
	var told struct{ Path []string }
	if err := json.Unmarshal(get(fmt.Sprintf("/api/v1/ledger/consistency?old=%d&new=%d", old, tree.N)), &told); err != nil {
		log.Fatal(err)
	}
	root := must(tlog.TreeHash(old, reader))
	if err := tlog.CheckTree(tlog.TreeProof(hashes(told.Path)), tree.N, tree.Hash, old, root); err != nil {
		log.Fatalf("consistency from %d: %v", old, err)
	}
}

func check(key note.Verifier, witnesses []string) {
	verifiers := []note.Verifier{key}
	for _, one := range witnesses {
		verifiers = append(verifiers, must(witness.NewVerifierForCosignatureV1(one)))
	}
	signed, tree := checkpoint(verifiers...)
	storage := &tiles{}
	reader := tlog.TileHashReader(tree, storage)
	if must(tlog.TreeHash(tree.N, reader)) != tree.Hash {
		log.Fatal("the tiles have another root")
	}
	all := entries(tree)
	if int64(len(all)) != tree.N {
		log.Fatalf("%d entries for a tree of %d", len(all), tree.N)
	}
	for n, entry := range all {
		stored := must(reader.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(n))}))
		if stored[0] != tlog.RecordHash(entry) {
			log.Fatalf("entry %d does not hash to its tile", n)
		}
	}
	var proved, grown int
	for n := int64(0); n < tree.N; n += max(1, tree.N/17) {
		checkProof(all[n], tree, key)
		proved++
	}
	for old := int64(1); old <= tree.N; old += max(1, tree.N/17) {
		checkGrowth(old, tree, reader)
		grown++
	}
	cosigners := []string{}
	for _, one := range signed.Sigs {
		if one.Name != key.Name() {
			cosigners = append(cosigners, one.Name)
		}
	}
	must(0, json.NewEncoder(os.Stdout).Encode(map[string]any{
		"size": tree.N, "root": base64.StdEncoding.EncodeToString(tree.Hash[:]), "tiles": storage.read,
		"proofs": proved, "growths": grown, "cosigners": cosigners,
	}))
}

func cosign(key note.Verifier, secret string) {
	signer := must(witness.NewSignerForCosignatureV1(secret))
	signed, _ := checkpoint(key)
	fmt.Print(string(must(note.Sign(signed, signer))))
}

func main() {
	log.SetFlags(0)
	if len(os.Args) == 3 && os.Args[1] == "keys" {
		secret, public, err := note.GenerateKey(rand.Reader, os.Args[2])
		must(0, err)
		fmt.Printf("%s\n%s\n", secret, must(witness.VKeyToCosignatureV1(public)))
		return
	}
	if len(os.Args) < 4 {
		log.Fatal("verifier keys NAME | verifier URL check VKEY [WITNESS-VKEY...] | verifier URL cosign VKEY SKEY")
	}
	base = os.Args[1]
	key := must(note.NewVerifier(os.Args[3]))
	switch os.Args[2] {
	case "check":
		check(key, os.Args[4:])
	case "cosign":
		cosign(key, os.Args[4])
	default:
		log.Fatalf("unknown: %s", os.Args[2])
	}
}
