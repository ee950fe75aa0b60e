package builder

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hodbuild/hod/builder/ops"
	"github.com/hodbuild/hod/builder/plan"
	"github.com/hodbuild/hod/builder/source"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/diff"
)

// perform performs one step, whose inputs are done.
func (b *build) perform(ctx context.Context, s *plan.Step, st *state) error {
	switch op := s.Op.(type) {
	case plan.Context:
		return b.context(ctx, op, st)
	case plan.Fetch:
		d, err := b.fetch(ctx, op, b.created())
		if err != nil {
			return err
		}
		b.keep(d.Close)
		st.files, st.away = d.Tree, []*bringing{{do: d.Complete}}
		return nil
	case plan.Git:
		return b.checkout(ctx, s, op, st)
	case plan.Workdir:
		base, err := b.files(ctx, s.Parent)
		if err != nil {
			return err
		}
		l, err := ops.Workdir{Path: op.Path, User: op.User}.Plan(base, b.opsOptions())
		if err != nil {
			return err
		}
		return b.commit(ctx, s, st, l)
	case plan.Copy:
		return b.copy(ctx, s, op, st)
	case plan.Run:
		return b.execute(ctx, s, op, st)
	}
	return fmt.Errorf("step %s cannot be performed", plan.Kind(s.Op))
}

func (b *build) opsOptions() ops.Options {
	return ops.Options{Time: b.created(), KeepTimes: b.o.KeepTimes, Tmp: b.o.tmp()}
}

// keep closes something when the build ends.
func (b *build) keep(close func() error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closers = append(b.closers, close)
}

// keepSums has a stat cache written when the build succeeds.
func (b *build) keepSums(c *source.StatCache) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sums = append(b.sums, c)
}

// saveSums writes the stat caches.
func (b *build) saveSums() error {
	for _, c := range b.sums {
		if err := c.Save(); err != nil {
			return err
		}
	}
	return nil
}

// context opens the main or a named context.
func (b *build) context(ctx context.Context, op plan.Context, st *state) error {
	if op.Name == "" {
		st.files, st.local = b.in.files, b.in.local
		return nil
	}
	c, err := openTree(ctx, b.o, op.Spec)
	if err != nil {
		return fmt.Errorf("named context %q: %w", op.Name, err)
	}
	b.keep(c.Close)
	var ignore *source.Ignore
	if _, folder := c.Files.(*source.Folder); folder { // what comes from elsewhere comes whole
		if ignore, err = source.ReadIgnore(c.Files, ""); err != nil {
			return fmt.Errorf("named context %q: %w", op.Name, err)
		}
	}
	st.files, st.local = source.NewListing(source.Filter(c.Files, ignore), c.Sums), c.Local
	b.keepSums(c.Sums)
	return nil
}

func (b *build) checkout(ctx context.Context, s *plan.Step, op plan.Git, st *state) error {
	c, err := b.clone(ctx, op)
	if err != nil {
		return err
	}
	b.keep(c.Close)
	b.mu.Lock()
	if b.commits == nil {
		b.commits = map[*plan.Step]string{}
	}
	b.commits[s] = c.Commit
	b.mu.Unlock()
	st.files, st.local = source.NewListing(c, nil), true
	return nil
}

// clone fetches a repository. What the instruction's flags and the address say of it must agree.
func (b *build) clone(ctx context.Context, op plan.Git) (*source.Checkout, error) {
	g, err := source.ParseGit(op.URL)
	if err != nil {
		return nil, err
	}
	switch {
	case op.Checksum != "" && g.Checksum != "" && op.Checksum != g.Checksum:
		return nil, fmt.Errorf("checksum mismatch %q != %q", op.Checksum, g.Checksum)
	case op.KeepGitDir != nil && g.KeepGitDir != nil && *op.KeepGitDir != *g.KeepGitDir:
		return nil, errors.New("inconsistent keep-git-dir configuration")
	}
	if op.Checksum != "" {
		g.Checksum = op.Checksum
	}
	if op.KeepGitDir != nil {
		g.KeepGitDir = op.KeepGitDir
	}
	return g.Checkout(ctx, g.Credentials(b.o.git(), b.o.secret))
}

// fetch downloads a file.
func (b *build) fetch(ctx context.Context, op plan.Fetch, made time.Time) (*source.Download, error) {
	return source.Fetch{URL: op.URL, Checksum: op.Checksum, Tmp: b.o.tmp(), Seen: b.o.inStore("fetched"), ModTime: made, Authorization: source.Authorization(b.o.secret, op.URL)}.Do(ctx)
}

// timeOf is the time that a source from elsewhere says it is of, for SOURCE_DATE_EPOCH; zero where it says none.
func (b *build) timeOf(ctx context.Context, op plan.Op) (time.Time, error) {
	switch op := op.(type) {
	case plan.Context:
		if op.Name == "" {
			return b.in.time, nil
		}
		if strings.HasPrefix(op.Spec, "docker-image:") || strings.HasPrefix(op.Spec, "oci-layout:") {
			return time.Time{}, nil
		}
		c, err := openTree(ctx, b.o, op.Spec)
		if err != nil {
			return time.Time{}, fmt.Errorf("named context %q: %w", op.Name, err)
		}
		return c.Time, c.Close()
	case plan.Fetch:
		d, err := b.fetch(ctx, op, time.Time{})
		if err != nil {
			return time.Time{}, err
		}
		defer d.Close()
		return d.Time(ctx, b.o.tmp())
	case plan.Git:
		c, err := b.clone(ctx, op)
		if err != nil {
			return time.Time{}, err
		}
		return c.Time, c.Close()
	}
	return time.Time{}, fmt.Errorf("a step %s has no time of its own", plan.Kind(op))
}

// files is the file system that a step left.
func (b *build) files(ctx context.Context, s *plan.Step) (source.Files, error) {
	if s == nil {
		return source.NewTree(), nil
	}
	st, err := b.need(ctx, s)
	if err != nil {
		return nil, err
	}
	if st.files != nil {
		return st.files, nil
	}
	if err := b.bring(ctx, st); err != nil {
		return nil, err
	}
	v, err := b.o.Store.View(ctx, st.chain)
	if err != nil {
		return nil, err
	}
	return ops.FromView(v), nil
}

// inline is a heredoc as a source.
func inline(src plan.Source, made time.Time) ops.Source {
	return ops.Source{Files: source.NewFile(src.Path, 0o644, made, src.Data), Path: src.Path, Literal: true}
}

// copy performs COPY and ADD.
func (b *build) copy(ctx context.Context, s *plan.Step, op plan.Copy, st *state) error {
	c, err := b.copyOf(ctx, s, op)
	if err != nil {
		return err
	}
	below := s.Parent
	if apart(s) {
		below = nil
	}
	base, err := b.files(ctx, below)
	if err != nil {
		return err
	}
	l, err := c.Plan(ctx, base, b.opsOptions())
	if err != nil {
		return err
	}
	return b.commit(ctx, s, st, l)
}

// commit writes a step's layer into the store.
func (b *build) commit(ctx context.Context, s *plan.Step, st *state, l *ops.Layer) error {
	defer l.Close()
	below, err := b.need(ctx, s.Parent)
	if err != nil {
		return err
	}
	st.away = below.away
	if l.Empty() {
		st.push(below.chain, "")
		return nil
	}
	info, err := b.pack(ctx, l)
	if err != nil {
		return err
	}
	st.push(below.chain, info.DiffID)
	return nil
}

// pack writes a layer into the store.
func (b *build) pack(ctx context.Context, l *ops.Layer) (layers.LayerInfo, error) {
	var index *diff.Index
	w, err := b.o.Store.CreateLayer(layers.LayerOptions{Packed: diff.PackerVersion, SelfContained: true, Index: func() *diff.Index { return index }})
	if err != nil {
		return layers.LayerInfo{}, err
	}
	defer w.Close()
	started := time.Now()
	pack := diff.NewWriter(w, diff.PackOptions{Timestamps: diff.Source})
	pack.Expect(len(l.Changes))
	if err := l.Write(ctx, ops.Packer{Writer: pack}); err != nil {
		return layers.LayerInfo{}, err
	}
	if index, err = pack.Close(); err != nil {
		return layers.LayerInfo{}, err
	}
	if err := l.Confirm(index, started); err != nil {
		return layers.LayerInfo{}, err
	}
	return w.Commit(ctx)
}
