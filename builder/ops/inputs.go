package ops

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"path"
	"runtime"
	"slices"

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
func (c Copy) Inputs(ctx context.Context, sums *source.StatCache) ([]Input, error) {
	var all []Input
	for i, s := range c.Sources {
		unpack := s.Unpack
		s.Unpack = false
		one := Copy{Sources: []Source{s}, Dest: "/", Parents: c.Parents, Exclude: c.Exclude}
		l, err := one.Plan(ctx, source.NewTree(), Options{KeepTimes: !s.Local})
		if err != nil {
			return nil, err
		}
		inputs, err := l.digests(ctx, sums, fmt.Sprintf("%d %t", i, unpack))
		if err != nil {
			return nil, err
		}
		all = append(all, inputs...)
	}
	return all, nil
}

// digests hashes all changes of a layer, side by side.
func (l *Layer) digests(ctx context.Context, sums *source.StatCache, salt string) ([]Input, error) {
	inputs := make([]Input, len(l.Changes))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0) + 1)
	const batch = 256
	for start := 0; start < len(l.Changes); start += batch {
		g.Go(func() error {
			for i := start; i < min(start+batch, len(l.Changes)); i++ {
				if err := ctx.Err(); err != nil {
					return err
				}
				d, err := l.Changes[i].digest(ctx, sums, salt)
				if err != nil {
					return err
				}
				inputs[i] = Input{Name: l.Changes[i].name(), Digest: d}
			}
			return nil
		})
	}
	return slices.Clip(inputs), g.Wait()
}

// name is the path in the tree that the change comes from.
func (c Change) name() string {
	if c.files == nil {
		return c.Path
	}
	return path.Clean(c.from + "/.")
}

func (c Change) digest(ctx context.Context, sums *source.StatCache, salt string) (digest.Digest, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%s\x00%q %c %o %d:%d %q %q %d,%d %d\x00", salt, c.Path, c.Type, c.Mode, c.UID, c.GID, c.Linkname, c.HardLink, c.Devmajor, c.Devminor, c.ModTime.Unix())
	for _, k := range sortedKeys(c.Xattrs) {
		fmt.Fprintf(h, "%q=%q\x00", k, c.Xattrs[k])
	}
	if c.IsRegular() && c.HardLink == "" {
		e := c.Entry
		e.Path = c.from
		d, err := sums.Digest(ctx, c.files, e)
		if err != nil {
			return "", err
		}
		io.WriteString(h, d.String())
	}
	return digest.NewDigest(digest.SHA256, h), nil
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
