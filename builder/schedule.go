package builder

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/hodbuild/hod/builder/cache"
	"github.com/hodbuild/hod/builder/dockerfile"
	"github.com/hodbuild/hod/builder/plan"
	"github.com/hodbuild/hod/builder/source"
	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// state is what a step left: a chain, or a tree of files from outside.
type state struct {
	chain layers.Chain
	layer digest.Digest // the step's own, empty where it changed nothing
	files source.Files
	local bool
	away  []*bringing // of layers in the chain that may not be in the store yet
	// anew says that the step, or one below it, was not found by its fast key: what was made on it before may not fit.
	anew bool
}

// future is the work on one step, which is done at most once and only when somebody needs it.
type future struct {
	once sync.Once
	st   *state
	err  error

	// forced says that the step, or one that it is made of, is performed whatever is remembered.
	forced bool

	keyOnce sync.Once
	key     *keys
	keyErr  error
}

// run resolves what the targets need. It goes backwards: a step whose record is found by its fast key needs the chain
// below it and nothing that it would have read.
func (b *build) run(ctx context.Context) error {
	jobs := b.o.Jobs
	if jobs <= 0 {
		jobs = max(8, 2*runtime.NumCPU()) // steps wait for networks and disks, too
	}
	b.slots = make(chan struct{}, jobs)
	for _, s := range b.plan.Steps { // inputs first
		b.futures[s] = &future{forced: keyed(s) && b.blind(s) || slices.ContainsFunc(append(slices.Clone(s.Inputs), s.Parent), b.forced)}
	}
	ctx, b.stop = context.WithCancelCause(ctx)
	defer b.stop(nil)
	g, inner := errgroup.WithContext(ctx)
	for _, t := range b.plan.Targets {
		g.Go(func() error {
			_, err := b.need(inner, t.Step)
			return err
		})
	}
	err := g.Wait()
	if cause := context.Cause(ctx); err != nil && cause != nil { // and not that something else was stopped for it
		return cause
	}
	return err
}

// forced says whether a step is performed, or made of one that is, whatever is remembered.
func (b *build) forced(s *plan.Step) bool { return s != nil && b.futures[s].forced }

// need gives what a step leaves, and makes it when nobody has yet.
func (b *build) need(ctx context.Context, s *plan.Step) (*state, error) {
	if s == nil {
		return &state{}, nil
	}
	f := b.futures[s]
	f.once.Do(func() {
		f.st, f.err = b.resolve(ctx, s)
		if f.err != nil {
			f.err = dockerfile.At(f.err, s.Ranges)
		}
		if f.err != nil && !errors.Is(f.err, context.Canceled) {
			b.stop(f.err) // the error of the build, whoever else hears first of something that was stopped for it
		}
	})
	return f.st, f.err
}

// resolve finds a step's record or performs it.
func (b *build) resolve(ctx context.Context, s *plan.Step) (*state, error) {
	if op, ok := s.Op.(plan.Base); ok {
		return b.base(s, op), nil
	}
	if !keyed(s) {
		return b.work(ctx, s)
	}
	if none, err := b.nothingKnown(s); err != nil {
		return nil, err
	} else if none {
		return b.pioneer(ctx, s)
	}
	fast, err := b.keys(ctx, s)
	if err != nil {
		return nil, err
	}
	if st, err := b.byFastKey(ctx, s, fast); st != nil || err != nil {
		return st, err
	}
	if err := b.needAll(ctx, s); err != nil {
		return nil, err
	}
	content, err := b.contentKeys(ctx, s, fast)
	if err != nil {
		return nil, err
	}
	if st, err := b.byContentKey(ctx, s, fast, content); st != nil || err != nil {
		return st, err
	}
	if err := b.explain(s, content); err != nil {
		return nil, err
	}
	if err := b.bringAll(ctx, s); err != nil {
		return nil, err
	}
	st, err := b.work(ctx, s)
	if err != nil {
		return nil, err
	}
	return st, b.save(ctx, s, st, fast, content)
}

// nothingKnown says whether no record can answer for a step, whatever its keys are.
func (b *build) nothingKnown(s *plan.Step) (bool, error) {
	switch {
	case b.o.Explain:
		return false, nil // which names all inputs
	case b.blind(s):
		return true, nil
	case len(b.imports) > 0:
		return false, nil
	}
	op, err := operation(s)
	if err != nil {
		return false, err
	}
	return b.cache.None(op)
}

// pioneer performs a step before its keys are known. So files of the context are read once: what was packed was hashed.
func (b *build) pioneer(ctx context.Context, s *plan.Step) (*state, error) {
	if err := b.bringAll(ctx, s); err != nil {
		return nil, err
	}
	st, err := b.work(ctx, s)
	if err != nil {
		return nil, err
	}
	fast, err := b.keys(ctx, s)
	if err != nil {
		return nil, err
	}
	content, err := b.contentKeys(ctx, s, fast)
	if err != nil {
		return nil, err
	}
	return st, b.save(ctx, s, st, fast, content)
}

// blind says whether a step looks no record up.
func (b *build) blind(s *plan.Step) bool { return s.NoCache || b.fresh || b.uncacheable(s) }

// needAll resolves all that a step builds on, side by side.
func (b *build) needAll(ctx context.Context, s *plan.Step) error {
	return b.each(ctx, s, func(ctx context.Context, in *plan.Step) error {
		st, err := b.need(ctx, in)
		if err == nil && in == s.Parent && !apart(s) { // what was missed once is seldom found by its content: begin with the layers
			err = b.bring(ctx, st)
		}
		return err
	})
}

// bringAll makes sure that all layers that a step builds on are in the store.
func (b *build) bringAll(ctx context.Context, s *plan.Step) error {
	return b.each(ctx, s, func(ctx context.Context, in *plan.Step) error {
		st, err := b.need(ctx, in)
		if err != nil || in == s.Parent && apart(s) {
			return err
		}
		return b.bring(ctx, st)
	})
}

// each calls do for all that a step builds on, side by side.
func (b *build) each(ctx context.Context, s *plan.Step, do func(context.Context, *plan.Step) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, in := range append(slices.Clone(s.Inputs), s.Parent) {
		g.Go(func() error { return do(ctx, in) })
	}
	return g.Wait()
}

// work performs a step, in its turn.
func (b *build) work(ctx context.Context, s *plan.Step) (*state, error) {
	select {
	case b.slots <- struct{}{}:
		defer func() { <-b.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	b.tell(Event{Kind: "start", Step: s})
	st := &state{anew: true}
	if err := b.perform(ctx, s, st); err != nil {
		b.tell(Event{Kind: "failed", Step: s, Err: err})
		return nil, err
	}
	b.tell(Event{Kind: "done", Step: s, Layer: st.layer != "", Size: b.size(st)})
	return st, nil
}

// size is what a step's own layer takes as a tar.
func (b *build) size(st *state) int64 {
	if st.layer == "" {
		return 0
	}
	info, err := b.o.Store.Layer(st.layer)
	if err != nil {
		return 0 // only told to people
	}
	return info.Size
}

// push makes the step's layer, which may be none, the top of a chain.
func (st *state) push(below layers.Chain, layer digest.Digest) {
	st.layer, st.chain = layer, slices.Clone(below)
	if layer != "" {
		st.chain = append(st.chain, layer)
	}
}

// save files what a step left under both keys. A layer that is elsewhere is filed when it comes.
func (b *build) save(ctx context.Context, s *plan.Step, st *state, fast, content *keys) error {
	if b.fresh {
		return nil
	}
	r := cache.Record{Kind: plan.Kind(s.Op), Step: s.Text, Layer: st.layer, Inputs: content.inputs, Made: b.started,
		Keys: []digest.Digest{fast.key, content.key}}
	b.export(s, fast.op, r)
	if _, err := b.o.Store.Layer(st.layer); st.layer != "" && errors.Is(err, layers.ErrNotFound) {
		return nil
	}
	if err := b.cache.Save(ctx, fast.op, r, r.Keys...); err != nil {
		return fmt.Errorf("remember step: %w", err)
	}
	return nil
}

// explain tells why a step has to be performed.
func (b *build) explain(s *plan.Step, k *keys) error {
	if !b.o.Explain {
		return nil
	}
	if s.NoCache {
		b.tell(Event{Kind: "explain", Step: s, Text: "--no-cache asks for it"})
		return nil
	}
	why, err := b.cache.Explain(k.op, plan.Kind(s.Op), k.inputs, b.imports)
	if err != nil {
		return err
	}
	for _, line := range why {
		b.tell(Event{Kind: "explain", Step: s, Text: line})
	}
	return nil
}
