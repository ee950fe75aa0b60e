package builder

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hodbuild/hod/builder/cache"
	"github.com/hodbuild/hod/builder/dockerfile"
	"github.com/hodbuild/hod/builder/ops"
	"github.com/hodbuild/hod/builder/plan"
	"github.com/hodbuild/hod/builder/source"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/runner"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Build builds a recipe. When it fails nothing is tagged and no output is written.
func Build(ctx context.Context, o Options) (*Result, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	in, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	b, err := newBuild(o, in)
	if err != nil {
		return nil, err
	}
	defer b.close()
	if b.plan, err = b.makePlan(ctx); err != nil {
		return nil, err
	}
	if o.Planned != nil {
		if err := o.Planned(b.plan.Runs()); err != nil {
			return nil, err
		}
	}
	if err := b.allowed(); err != nil {
		return nil, in.recipe.Wrap(err)
	}
	if err := b.importCaches(ctx); err != nil {
		return nil, err
	}
	b.startExports(ctx)
	if err := b.run(ctx); err != nil {
		return nil, in.recipe.Wrap(b.failed(ctx, err))
	}
	if o.RebuildCheck {
		if err := b.rebuildCheck(ctx); err != nil {
			return nil, in.recipe.Wrap(err)
		}
	}
	if err := b.saveSums(); err != nil {
		return nil, err
	}
	res, err := b.finish(ctx)
	if err != nil {
		return nil, err
	}
	return res, b.finishExports(ctx)
}

// MakePlan plans a build without performing it.
func MakePlan(ctx context.Context, o Options) (*plan.Plan, error) {
	in, err := open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return (&build{o: o, in: in}).makePlan(ctx)
}

// check refuses options that do not go together before anything is read.
func (o Options) check() error {
	if _, err := fullNames(o.Tags); err != nil {
		return err
	}
	for _, tag := range o.Tags {
		if n, err := layers.ParseName(tag); err == nil && n.Digest != "" {
			return fmt.Errorf("tag %q: a tag cannot have a digest", tag)
		}
	}
	streams := 0
	for _, out := range o.Outputs {
		if err := out.check(o); err != nil {
			return err
		}
		if out.Dest == "-" {
			streams++
		}
	}
	if streams > 1 {
		return errors.New("two outputs cannot both go to standard output")
	}
	return nil
}

// build is one run of Build.
type build struct {
	o       Options
	in      *input
	plan    *plan.Plan
	cache   *cache.Cache
	futures map[*plan.Step]*future // made before the steps run
	slots   chan struct{}
	stop    context.CancelCauseFunc // of the steps
	started time.Time

	networks networks
	fresh    bool   // neither look at records nor leave any
	caches   string // stands before the IDs of cache mounts; what lies there goes when the build ends
	times    *ops.Times
	imports  []*cache.Imported
	exports  []export
	result   map[*plan.Step]bool // steps whose layers are the result's

	mu       sync.Mutex // guards what follows, and the order of events
	closers  []func() error
	cacheIDs []string        // cache mounts that were used
	renewed  map[string]bool // cache mounts that were emptied
	noted    map[*plan.Step]noted
	failure  *Failure
	commits  map[*plan.Step]string // of git steps
	sums     []*source.StatCache
	said     map[*plan.Step][]statement // about targets; no two outputs are written at once
}

func newBuild(o Options, in *input) (*build, error) {
	missing := func(err error) bool { return errors.Is(err, layers.ErrNotFound) }
	b := &build{o: o, in: in, sums: []*source.StatCache{in.sums}, cache: &cache.Cache{Store: o.Store, Missing: missing},
		futures: map[*plan.Step]*future{}, started: time.Now()}
	b.times = ops.NewTimes(o.Store)
	b.networks.toHost = slices.ContainsFunc(o.Run.ExtraHosts, func(h string) bool { return strings.HasSuffix(h, ":host-gateway") })
	b.networks.r = runner.New(runner.Options{Store: o.Store, Warn: func(text string) {
		b.tell(Event{Kind: "warning", Warning: Warning{Rule: "NoNetwork", Message: text}})
	}})
	return b, nil
}

func (b *build) close() {
	b.networks.close()
	for _, c := range b.closers {
		c()
	}
}

func (b *build) makePlan(ctx context.Context) (*plan.Plan, error) {
	recipe, o := b.in.recipe, b.o
	if err := recipe.CheckSyntax(o.Args["BUILDKIT_SYNTAX"]); err != nil {
		return nil, err
	}
	lint, err := recipe.Linter(o.Args["BUILDKIT_DOCKERFILE_CHECK"], func(w dockerfile.Warning) { b.tell(Event{Kind: "warning", Warning: w}) })
	if err != nil {
		return nil, err
	}
	return plan.Make(ctx, recipe, plan.Options{Target: o.Target, BuildArgs: o.Args, Platforms: o.Platforms, Labels: o.Labels,
		Contexts: o.Contexts, Ignored: b.in.ignored, NoCache: o.noCache, Linter: lint, Scan: o.Attest.Scanner != "", AllStages: o.CheckAll, TimeOf: b.timeOf, Many: o.Index,
		Resolve: func(ctx context.Context, name string, p ocispec.Platform) (*plan.BaseImage, error) {
			return o.Images.Resolve(ctx, name, p, o.Pull)
		}})
}

// tell reports an event, one at a time.
func (b *build) tell(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.o.Events != nil {
		b.o.Events(e)
	}
}

// created is the time of everything that the build makes.
func (b *build) created() time.Time {
	if b.plan.Epoch != nil {
		return *b.plan.Epoch
	}
	return ops.Epoch
}
