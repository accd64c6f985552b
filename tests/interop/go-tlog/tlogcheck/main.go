// Tlogcheck reads a log directory of C2SP's tlog-tiles layout with the packages that Go's own
// checksum database is made of (golang.org/x/mod/sumdb/tlog and note), and checks all of it:
//
//	tlogcheck DIRECTORY [OLDER-CHECKPOINT]
//
// The checkpoint is signed by the key in key.pub; each entry of each bundle is in the tree, by a
// proof made from tiles; and the tree of the older checkpoint is a beginning of it, by a proof
// likewise. It prints one line per claim and ends with 1 at the first that does not hold.
package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	height = 8
	width  = 1 << height
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println(version())
		return
	}
	if len(os.Args) < 2 || len(os.Args) > 3 {
		fmt.Fprintln(os.Stderr, "usage: tlogcheck DIRECTORY [OLDER-CHECKPOINT]")
		os.Exit(2)
	}
	if err := check(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "tlogcheck:", err)
		os.Exit(1)
	}
}

// version is that of golang.org/x/mod.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, module := range info.Deps {
		if module.Path == "golang.org/x/mod" {
			return module.Version
		}
	}
	return "unknown"
}

func check(directory string, older []string) error {
	key, err := os.ReadFile(filepath.Join(directory, "key.pub"))
	if err != nil {
		return err
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(string(key)))
	if err != nil {
		return fmt.Errorf("key.pub: %w", err)
	}
	tree, err := open(filepath.Join(directory, "checkpoint"), verifier)
	if err != nil {
		return err
	}
	fmt.Printf("signed: %d entries\n", tree.N)
	reader := tlog.TileHashReader(tree, tiles(directory))
	if err := checkEntries(directory, tree, reader); err != nil {
		return err
	}
	fmt.Printf("included: %d entries\n", tree.N)
	for _, path := range older {
		then, err := open(path, verifier)
		if err != nil {
			return err
		}
		proof, err := tlog.ProveTree(tree.N, then.N, reader)
		if err != nil {
			return fmt.Errorf("no proof from %d to %d: %w", then.N, tree.N, err)
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, then.N, then.Hash); err != nil {
			return fmt.Errorf("%d entries are not the beginning of %d: %w", then.N, tree.N, err)
		}
		fmt.Printf("consistent: the first %d entries\n", then.N)
	}
	return nil
}

// open reads a checkpoint that the key signed.
func open(path string, verifier note.Verifier) (tlog.Tree, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return tlog.Tree{}, err
	}
	signed, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("%s: %w", path, err)
	}
	lines := strings.Split(signed.Text, "\n")
	if len(lines) < 3 || lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("%s: it is not of the log %s", path, verifier.Name())
	}
	var tree tlog.Tree
	if _, err := fmt.Sscanf(lines[1], "%d", &tree.N); err != nil {
		return tlog.Tree{}, fmt.Errorf("%s: %w", path, err)
	}
	tree.Hash, err = tlog.ParseHash(lines[2])
	return tree, err
}

// checkEntries has every entry proven to be in the tree.
func checkEntries(directory string, tree tlog.Tree, reader tlog.HashReader) error {
	for first := int64(0); first < tree.N; first += width {
		count := min(width, tree.N-first)
		bundle, err := read(directory, "tile/entries", first/width, int(count))
		if err != nil {
			return err
		}
		for number := first; number < first+count; number++ {
			if len(bundle) < 2 {
				return fmt.Errorf("entry %d is missing", number)
			}
			length := int(binary.BigEndian.Uint16(bundle)) + 2
			if len(bundle) < length {
				return fmt.Errorf("entry %d is cut", number)
			}
			entry := bundle[2:length]
			bundle = bundle[length:]
			proof, err := tlog.ProveRecord(tree.N, number, reader)
			if err != nil {
				return fmt.Errorf("no proof of entry %d: %w", number, err)
			}
			hash := tlog.RecordHash(entry)
			if err := tlog.CheckRecord(proof, tree.N, tree.Hash, number, hash); err != nil {
				return fmt.Errorf("entry %d: %w", number, err)
			}
			if !json.Valid(entry) {
				return fmt.Errorf("entry %d is no JSON", number)
			}
		}
		if len(bundle) > 0 {
			return fmt.Errorf("the bundle after entry %d is too long", first+count-1)
		}
	}
	return nil
}

// tiles reads tiles under C2SP's names, which differ from those of the checksum database.
type tiles string

func (tiles) Height() int { return height }

func (tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (directory tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range wanted {
		stem := fmt.Sprintf("tile/%d", tile.L)
		data, err := read(string(directory), stem, tile.N, tile.W)
		if err != nil {
			return nil, err
		}
		found = append(found, data[:tile.W*tlog.HashSize])
	}
	return found, nil
}

// read reads a tile, or the full one in which a partial tile has ended.
func read(directory, stem string, index int64, count int) ([]byte, error) {
	name := fmt.Sprintf("%03d", index%1000)
	for index /= 1000; index > 0; index /= 1000 {
		name = fmt.Sprintf("x%03d/%s", index%1000, name)
	}
	path := filepath.Join(directory, stem, name)
	if count < width {
		if data, err := os.ReadFile(fmt.Sprintf("%s.p/%d", path, count)); err == nil {
			return data, nil
		}
	}
	return os.ReadFile(path)
}
