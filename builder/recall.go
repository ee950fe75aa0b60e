package builder

import (
	"context"
	"slices"

	"github.com/hodbuild/hod/builder/cache"
	"github.com/hodbuild/hod/builder/plan"
	"github.com/opencontainers/go-digest"
)

// byFastKey answers for a step with the record under its fast key, nil where there is none that fits.
func (b *build) byFastKey(ctx context.Context, s *plan.Step, fast *keys) (*state, error) {
	r, from, err := b.find(s, fast.op, fast.key)
	if r == nil || err != nil {
		return nil, err
	}
	if fits, err := b.fits(ctx, s, r, fast); err != nil || !fits {
		return nil, err
	}
	st, err := b.recall(ctx, s, fast.op, fast.key, r, from)
	if err == nil {
		b.export(s, fast.op, withKey(*r, fast.key))
	}
	return st, err
}

// byContentKey answers for a step with the record under its content key, nil where there is none. The next build finds it
// without a look at the inputs.
func (b *build) byContentKey(ctx context.Context, s *plan.Step, fast, content *keys) (*state, error) {
	r, from, err := b.find(s, fast.op, content.key)
	if r == nil || err != nil {
		return nil, err
	}
	st, err := b.recall(ctx, s, fast.op, content.key, r, from)
	if err != nil {
		return nil, err
	}
	st.anew = true
	return st, b.save(ctx, s, st, fast, content)
}

// fits says whether a record that was found by the fast key is what the step would make. The fast key speaks of what the
// inputs are made of and not of what they became: it says nothing where one of them is performed whatever is remembered,
// and where the step below was made once more, the record must be of the same result.
func (b *build) fits(ctx context.Context, s *plan.Step, r *cache.Record, fast *keys) (bool, error) {
	if b.forced(s) {
		return false, nil
	}
	below, err := b.need(ctx, s.Parent)
	if err != nil || !below.anew || apart(s) {
		return err == nil, err
	}
	if err := b.needAll(ctx, s); err != nil {
		return false, err
	}
	content, err := b.contentKeys(ctx, s, fast)
	return err == nil && slices.Contains(r.Keys, content.key), err
}

// find gives the record under a key, nil when there is none, and the imported cache that it is of.
func (b *build) find(s *plan.Step, op, key digest.Digest) (*cache.Record, *cache.Imported, error) {
	if b.blind(s) {
		return nil, nil, nil
	}
	r, err := b.cache.Find(op, key)
	if r != nil || err != nil {
		return r, nil, err
	}
	r, from := b.imported(op, key)
	return r, from, nil
}

// recall gives what a record says that was found under a key.
func (b *build) recall(ctx context.Context, s *plan.Step, op, key digest.Digest, r *cache.Record, from *cache.Imported) (*state, error) {
	below, err := b.need(ctx, s.Parent)
	if err != nil {
		return nil, err
	}
	st := &state{away: slices.Clone(below.away), anew: below.anew}
	st.push(below.chain, r.Layer)
	if from != nil {
		st.away = append(st.away, b.fetched(from, op, withKey(*r, key)))
	}
	b.tell(Event{Kind: "cached", Step: s, Layer: r.Layer != ""})
	return st, nil
}
