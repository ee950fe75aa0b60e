package builder

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hodbuild/hod/builder/dockerfile"
	"github.com/hodbuild/hod/builder/plan"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/diff"
	"github.com/opencontainers/go-digest"
)

// rebuildCheck performs every step a second time, without looking at or leaving records, and is an error where one gives
// something else, with the names of what differs. Steps that only follow from such a step are not named. The second run
// begins with empty cache mounts: a result that only the first run's caches explain is not a reproducible one.
func (b *build) rebuildCheck(ctx context.Context) error {
	s := &plan.Step{ID: len(b.plan.Steps) + 1, Name: "rebuild check: every step once more"}
	b.tell(Event{Kind: "start", Step: s})
	again, err := b.again(ctx)
	if err == nil {
		err = b.compare(ctx, again)
	}
	if err != nil {
		b.tell(Event{Kind: "failed", Step: s, Err: err})
		return err
	}
	b.tell(Event{Kind: "done", Step: s})
	return nil
}

// again is the second run.
func (b *build) again(ctx context.Context) (*build, error) {
	o := b.o
	o.Events, o.OnFailure, o.InlineCache = nil, nil, false
	second, err := newBuild(o, b.in)
	if err != nil {
		return nil, err
	}
	b.keep(func() error { second.close(); return nil })
	second.plan, second.fresh, second.caches = b.plan, true, fmt.Sprintf("rebuild-check %s/", rand.Text())
	return second, errors.Join(second.run(ctx), second.dropCaches())
}

// dropCaches removes the cache mounts that only this run used.
func (b *build) dropCaches() error {
	var errs []error
	for _, id := range b.cacheIDs {
		if err := b.o.Store.RemoveCacheMount(id); !errors.Is(err, layers.ErrNotFound) { // the same id twice
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// compare looks for steps that gave something else from the same inputs.
func (b *build) compare(ctx context.Context, second *build) error {
	var causes []error
	for _, s := range b.plan.Steps {
		one, two := b.futures[s].st, second.futures[s].st
		if one == nil || two == nil || one.layer == two.layer || !b.sameInputs(second, s) {
			continue
		}
		what, err := b.changes(ctx, one.layer, two.layer)
		if err != nil {
			return err
		}
		causes = append(causes, dockerfile.At(fmt.Errorf("the step gives something else each time: %s", what), s.Ranges))
	}
	return errors.Join(causes...)
}

// sameInputs says whether both runs of a step began with the same.
func (b *build) sameInputs(second *build, s *plan.Step) bool {
	return !slices.ContainsFunc(append(slices.Clone(s.Inputs), s.Parent), func(in *plan.Step) bool {
		if in == nil {
			return false
		}
		one, two := b.futures[in].st, second.futures[in].st
		return one == nil || two == nil || one.chain.ID() != two.chain.ID()
	})
}

// mostNamed is how many differing files an error names.
const mostNamed = 10

// changes names what differs between two layers.
func (b *build) changes(ctx context.Context, one, two digest.Digest) (string, error) {
	before, err := b.entries(ctx, one)
	if err != nil {
		return "", err
	}
	after, err := b.entries(ctx, two)
	if err != nil {
		return "", err
	}
	var names []string
	for p, e := range before {
		f, ok := after[p]
		delete(after, p)
		if !ok {
			names = append(names, "/"+p+" (not there the second time)")
		} else if what := differences(e, f); what != "" {
			names = append(names, "/"+p+" ("+what+")")
		}
	}
	for p := range after {
		names = append(names, "/"+p+" (only the second time)")
	}
	slices.Sort(names)
	if n := len(names); n > mostNamed {
		names = append(names[:mostNamed], fmt.Sprintf("and %d more", n-mostNamed))
	}
	return strings.Join(names, ", "), nil
}

func (b *build) entries(ctx context.Context, d digest.Digest) (map[string]*diff.Entry, error) {
	all := map[string]*diff.Entry{}
	if d == "" {
		return all, nil
	}
	x, err := b.o.Store.Index(ctx, d)
	if err != nil {
		return nil, err
	}
	for _, e := range x.Entries {
		all[e.Path] = e
	}
	return all, nil
}

// differences says in words how two entries of one path differ.
func differences(a, b *diff.Entry) string {
	var what []string
	for _, c := range []struct {
		word    string
		differs bool
	}{
		{"kind", a.Type != b.Type}, {"content", a.Digest != b.Digest || a.Size != b.Size}, {"mode", a.Mode != b.Mode},
		{"owner", a.UID != b.UID || a.GID != b.GID}, {"time", !a.ModTime.Equal(b.ModTime)}, {"target", a.Linkname != b.Linkname},
		{"attributes", !sameXattrs(a, b)}, {"device", a.Devmajor != b.Devmajor || a.Devminor != b.Devminor},
	} {
		if c.differs {
			what = append(what, c.word)
		}
	}
	return strings.Join(what, ", ")
}
