package builder

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/hodbuild/hod/builder/cache"
	"github.com/hodbuild/hod/builder/dockerfile"
	"github.com/hodbuild/hod/builder/ops"
	"github.com/hodbuild/hod/builder/plan"
	"github.com/hodbuild/hod/builder/source"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/runner"
	"github.com/opencontainers/go-digest"
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
	if err := b.run(ctx); err != nil {
		return nil, in.recipe.Wrap(err)
	}
	if err := b.sums.Save(); err != nil {
		return nil, err
	}
	return b.finish(ctx)
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
	for _, out := range o.Outputs {
		switch out.Type {
		case "image", "local", "tar":
		default:
			return fmt.Errorf("output type %q is not supported: use image, local or tar", out.Type)
		}
		if out.Type != "image" && out.Dest == "" {
			return fmt.Errorf("output type %s needs dest=", out.Type)
		}
	}
	for _, tag := range o.Tags {
		if n, err := layers.ParseName(tag); err != nil {
			return err
		} else if n.Digest != "" {
			return fmt.Errorf("tag %q: a tag cannot have a digest", tag)
		}
	}
	if len(o.Platforms) > 1 && (len(o.Tags) > 0 || len(o.Outputs) > 0) {
		return errors.New("several platforms cannot share a name or an output yet: build one platform at a time")
	}
	return nil
}

// build is one run of Build.
type build struct {
	o       Options
	in      *input
	plan    *plan.Plan
	cache   *cache.Cache
	sums    *source.StatCache
	futures map[*plan.Step]*future // made before the steps run
	slots   chan struct{}
	started time.Time

	networks networks

	mu      sync.Mutex // guards what follows, and the order of events
	closers []func() error
}

func newBuild(o Options, in *input) (*build, error) {
	sums, err := source.OpenStatCache(filepath.Join(o.Store.Root(), "statcache"))
	if err != nil {
		return nil, err
	}
	missing := func(err error) bool { return errors.Is(err, layers.ErrNotFound) }
	return &build{o: o, in: in, sums: sums, cache: &cache.Cache{Store: o.Store, Missing: missing},
		futures: map[*plan.Step]*future{}, started: time.Now(),
		networks: networks{r: runner.New(runner.Options{Store: o.Store})}}, nil
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
		Contexts: o.Contexts, Ignored: b.in.ignored, NoCache: o.noCache, Linter: lint, AllStages: o.CheckAll,
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

// finish stores the images and writes the outputs.
func (b *build) finish(ctx context.Context) (*Result, error) {
	res := &Result{Plan: b.plan}
	toStore := len(b.o.Outputs) == 0
	for _, out := range b.o.Outputs {
		toStore = toStore || out.Type == "image"
	}
	for _, t := range b.plan.Targets {
		for _, out := range b.o.Outputs {
			if err := b.write(ctx, t, out); err != nil {
				return nil, fmt.Errorf("write output to %q: %w", out.Dest, err)
			}
		}
		if !toStore {
			continue
		}
		img, err := b.store(ctx, t)
		if err != nil {
			return nil, err
		}
		res.Images = append(res.Images, *img)
	}
	return res, nil
}

// store puts the image of a target into the store and names it.
func (b *build) store(ctx context.Context, t plan.Target) (*Image, error) {
	st, err := b.need(ctx, t.Step)
	if err != nil {
		return nil, err
	}
	config, err := t.Image.JSON(baseOf(t.Step), func(s *plan.Step) digest.Digest { return b.futures[s].st.layer }, b.created())
	if err != nil {
		return nil, err
	}
	img, err := b.o.Store.PutImage(ctx, config, st.chain, layers.PutImageOptions{Built: time.Now(), Source: b.in.recipe.Name})
	if err != nil {
		return nil, err
	}
	res := &Image{Image: img}
	for _, tag := range b.o.Tags {
		name, err := layers.ParseName(tag)
		if err != nil {
			return nil, err
		}
		target := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: img.ID, Size: int64(len(config))}
		if err := b.o.Store.Tag(ctx, name.String(), target); err != nil {
			return nil, err
		}
		res.Names = append(res.Names, name.String())
	}
	return res, nil
}

// baseOf returns the diffIDs of the image that a file system was started from.
func baseOf(s *plan.Step) []digest.Digest {
	for ; s != nil; s = s.Parent {
		if base, ok := s.Op.(plan.Base); ok {
			return base.Chain
		}
	}
	return nil
}
