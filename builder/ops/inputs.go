package ops

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strconv"

	"github.com/hodbuild/hod/builder/source"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// Input is one thing that a step depends on, by name.
type Input struct {
	Name   string
	Digest digest.Digest
}

// Inputs names everything that the step reads from its sources: each entry with the digest of its name, kind, mode, link,
// attributes and content, and its owner where the tree is not local. It is what a key is made of, and it does not look
// at the tree that is written on.
func (c Copy) Inputs(ctx context.Context) ([]Input, error) {
	var all []Input
	for i, s := range c.Sources {
		unpack := s.Unpack
		s.Unpack = false
		one := Copy{Sources: []Source{s}, Dest: "/", Parents: c.Parents, Exclude: c.Exclude}
		l, err := one.Plan(ctx, source.NewTree(), Options{KeepTimes: !s.Local})
		if err != nil {
			return nil, err
		}
		inputs, err := l.digests(ctx, fmt.Sprintf("%d %t", i, unpack))
		if err != nil {
			return nil, err
		}
		all = append(all, inputs...)
	}
	return all, nil
}

// digests hashes all changes of a layer, side by side.
func (l *Layer) digests(ctx context.Context, salt string) ([]Input, error) {
	inputs := make([]Input, len(l.Changes))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0) + 1)
	const batch = 256
	for start := 0; start < len(l.Changes); start += batch {
		g.Go(func() error {
			var text []byte
			for i := start; i < min(start+batch, len(l.Changes)); i++ {
				err := ctx.Err()
				if err == nil {
					text, err = l.Changes[i].describe(ctx, append(text[:0], salt...))
				}
				if err != nil {
					return err
				}
				inputs[i] = Input{Name: l.Changes[i].name(), Digest: sumOf(text)}
			}
			return nil
		})
	}
	return slices.Clip(inputs), g.Wait()
}

// sumOf is a digest, made with one allocation.
func sumOf(text []byte) digest.Digest {
	sum := sha256.Sum256(text)
	return digest.Digest(hex.AppendEncode(append(make([]byte, 0, 71), "sha256:"...), sum[:]))
}

// name is the path in the tree that the change comes from.
func (c Change) name() string {
	if c.files == nil {
		return c.Path
	}
	return path.Clean(c.from + "/.")
}

// describe appends all that a key says of a change, its content's digest last.
func (c Change) describe(ctx context.Context, text []byte) ([]byte, error) {
	text = strconv.AppendQuote(append(text, 0), c.Path)
	text = append(text, ' ', c.Type)
	for _, n := range [...]int64{int64(c.Mode), int64(c.UID), int64(c.GID), c.Devmajor, c.Devminor, c.ModTime.Unix()} {
		text = strconv.AppendInt(append(text, ' '), n, 10)
	}
	text = strconv.AppendQuote(append(text, ' '), c.Linkname)
	text = strconv.AppendQuote(append(text, ' '), c.HardLink)
	for _, k := range sortedKeys(c.Xattrs) {
		text = strconv.AppendQuote(append(text, 0), k)
		text = strconv.AppendQuote(append(text, '='), c.Xattrs[k])
	}
	if !c.IsRegular() || c.HardLink != "" {
		return text, nil
	}
	d, err := source.Digest(ctx, c.files, c.source())
	return append(append(text, 0), d...), err
}

// source is the entry that the content comes from.
func (c Change) source() source.Entry {
	e := c.Entry
	e.Path = c.from
	return e
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
