package builder

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/hodbuild/hod/builder/dockerfile"
	"github.com/hodbuild/hod/builder/ops"
	"github.com/hodbuild/hod/builder/plan"
	"github.com/hodbuild/hod/builder/source"
	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
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
	b := &build{o: o, in: in, chains: newChains(o.Store), done: map[*plan.Step]*state{}}
	defer b.close()
	if b.plan, err = b.makePlan(ctx); err != nil {
		return nil, err
	}
	if err := b.run(ctx); err != nil {
		return nil, in.recipe.Wrap(err)
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
	o      Options
	in     *input
	plan   *plan.Plan
	chains *chains

	mu      sync.Mutex // guards what follows
	done    map[*plan.Step]*state
	closers []func() error
}

// state is what a step left: a chain, or a tree of files from outside.
type state struct {
	chain layers.Chain
	layer digest.Digest // the step's own, empty where it changed nothing
	files source.Files
	local bool
	ready chan struct{}
}

func (b *build) close() {
	for _, c := range b.closers {
		c()
	}
	b.chains.Close()
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
		Contexts: o.Contexts, Ignored: b.in.ignored, Linter: lint, AllStages: o.CheckAll,
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

// run performs all steps, each when its inputs are there.
func (b *build) run(ctx context.Context) error {
	jobs := b.o.Jobs
	if jobs <= 0 {
		jobs = runtime.NumCPU()
	}
	for _, s := range b.plan.Steps {
		if _, ok := s.Op.(plan.Run); ok {
			return dockerfile.At(errors.New("RUN is not supported by this version of hod: only recipes of FROM, COPY, ADD, WORKDIR and descriptions of the image are"), s.Ranges)
		}
		b.done[s] = &state{ready: make(chan struct{})}
	}
	slots := make(chan struct{}, jobs)
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range b.plan.Steps {
		g.Go(func() error {
			for _, in := range append(slices.Clone(s.Inputs), s.Parent) {
				if in == nil {
					continue
				}
				select {
				case <-b.done[in].ready:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
			defer func() { <-slots }()
			return b.step(ctx, s)
		})
	}
	return g.Wait()
}

// step performs one step and tells about it.
func (b *build) step(ctx context.Context, s *plan.Step) error {
	b.tell(Event{Kind: "start", Step: s})
	st := b.done[s]
	if err := b.perform(ctx, s, st); err != nil {
		b.tell(Event{Kind: "failed", Step: s, Err: err})
		return dockerfile.At(err, s.Ranges)
	}
	close(st.ready)
	b.tell(Event{Kind: "done", Step: s, Layer: st.layer != ""})
	return nil
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
	var chain layers.Chain
	if t.Step != nil {
		chain = b.done[t.Step].chain
	}
	config, err := t.Image.JSON(baseOf(t.Step), func(s *plan.Step) digest.Digest { return b.done[s].layer }, b.created())
	if err != nil {
		return nil, err
	}
	img, err := b.o.Store.PutImage(ctx, config, chain, layers.PutImageOptions{Built: time.Now(), Source: b.in.recipe.Name})
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
