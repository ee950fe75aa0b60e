package plan

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hodbuild/hod/builder/dockerfile"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// BaseImage is what a name of an image was resolved to.
type BaseImage struct {
	Name   string
	Digest digest.Digest // of the manifest, or of the config where there is no manifest
	Config []byte
	Chain  []digest.Digest
}

// Options is what a plan depends on besides the recipe.
type Options struct {
	Target    string // a stage's name or number; empty is the last
	BuildArgs map[string]string
	// Platforms are the platforms to build for, one target each. Empty means this machine's, or where a base image
	// exists for another one only, that.
	Platforms []ocispec.Platform
	Labels    map[string]string // added to the target's
	Contexts  map[string]string // named contexts: name to what it stands for
	NoCache   func(stage string) bool
	// Resolve finds an image, or with the prefix oci-layout:// one in a layout folder. It is asked several times at once, and
	// again for what it has found, which it remembers.
	Resolve func(ctx context.Context, name string, p ocispec.Platform) (*BaseImage, error)
	// Ignored says whether the ignore file excludes a path of the main context; for warnings only.
	Ignored func(path string) bool
	// TimeOf gives the time that a Context, Fetch or Git says it is of, zero where it says none: for SOURCE_DATE_EPOCH.
	TimeOf    func(ctx context.Context, op Op) (time.Time, error)
	Many      bool // names of steps tell the platform, even of one
	AllStages bool // also plan what the target does not need, to check it
	Scan      bool // plan what a list of contents looks at
	Linter    *dockerfile.Linter
}

// Plan is a graph of steps and the images that it ends in.
type Plan struct {
	Recipe  *dockerfile.Recipe
	Steps   []*Step // inputs before those that use them; only what a target needs
	Targets []Target
	// Epoch is the value of SOURCE_DATE_EPOCH, nil when there is none.
	Epoch *time.Time
}

// Runs says whether there are RUN steps: the recipe's own, or those of an ONBUILD.
func (p *Plan) Runs() bool {
	return slices.ContainsFunc(p.Steps, func(s *Step) bool {
		_, is := s.Op.(Run)
		return is
	})
}

// Target is the result for one platform.
type Target struct {
	Platform ocispec.Platform
	Stage    string
	Step     *Step // the file system; nil is an empty one
	Image    *Image
	Outline  Outline
	// Scan are the stages, and the context, that the recipe wants a list of contents to tell of beside the target's own.
	Scan []ScanStep
}

// ScanStep is a tree that is looked at for a list of contents.
type ScanStep struct {
	Name string
	Step *Step
}

// Make plans a recipe. It performs nothing; errors carry their place in the recipe.
func Make(ctx context.Context, recipe *dockerfile.Recipe, o Options) (*Plan, error) {
	p := &Plan{Recipe: recipe}
	platforms, implicit := o.Platforms, false
	if len(platforms) == 0 {
		platforms, implicit = []ocispec.Platform{HostPlatform()}, true
	}
	g := &graph{byKey: map[string]*Step{}}
	for _, platform := range platforms {
		m := &maker{recipe: recipe, o: o, graph: g, platform: normal(platform), implicit: implicit,
			many: len(platforms) > 1 || o.Many, lint: o.Linter, lex: recipe.Lexer(), byName: map[string]*stage{}}
		target, err := m.run(ctx)
		if err != nil {
			return nil, recipe.Wrap(err)
		}
		p.Targets = append(p.Targets, *target)
		p.Epoch = m.epoch
	}
	if err := o.Linter.Err(); err != nil {
		return nil, recipe.Wrap(err)
	}
	p.Steps = reachable(g.steps, p.Targets)
	return p, nil
}

// maker plans one platform.
type maker struct {
	recipe   *dockerfile.Recipe
	o        Options
	graph    *graph
	platform ocispec.Platform
	implicit bool // the user asked for no platform
	many     bool // names of steps tell the platform
	lint     *dockerfile.Linter
	lex      *dockerfile.Lexer
	globals  *env
	args     map[string]argInfo // declared global arguments
	epoch    *time.Time
	stages   []*stage // of the recipe, then images that COPY --from and mounts name
	own      int      // how many of them are the recipe's
	byName   map[string]*stage

	targetName string // what TARGETSTAGE says
}

func (m *maker) run(ctx context.Context) (*Target, error) {
	stages, globals, err := m.recipe.Stages(m.lint)
	if err != nil {
		return nil, err
	}
	m.targetName = cmp.Or(m.o.Target, stages[len(stages)-1].Name, "default")
	if err := m.setGlobals(stages, globals); err != nil {
		return nil, err
	}
	if err := m.setEpoch(ctx, stages); err != nil {
		return nil, err
	}
	for i := range stages {
		if err := m.addStage(i, stages[i]); err != nil {
			return nil, dockerfile.At(err, stages[i].Location)
		}
	}
	m.own = len(m.stages)
	target, err := m.target()
	if err != nil {
		return nil, err
	}
	if err := m.link(); err != nil {
		return nil, err
	}
	needed, err := m.resolve(ctx, target)
	if err != nil {
		return nil, err
	}
	for _, s := range m.stages {
		if needed[s] && !s.dispatched {
			if err := m.dispatch(s); err != nil {
				return nil, err
			}
		}
	}
	t := m.finish(target)
	t.Scan, err = m.scan(target, needed)
	return t, err
}

// scan finds what BUILDKIT_SBOM_SCAN_STAGE (true, or names of stages) and BUILDKIT_SBOM_SCAN_CONTEXT ask for.
func (m *maker) scan(target *stage, needed map[*stage]bool) ([]ScanStep, error) {
	if !m.o.Scan {
		return nil, nil
	}
	wanted := map[string]bool{}
	for _, s := range m.stages[:m.own] {
		if !needed[s] || !s.dispatched {
			continue
		}
		value := m.argument(s, "BUILDKIT_SBOM_SCAN_STAGE")
		if on, err := strconv.ParseBool(value); err == nil {
			wanted[strings.ToLower(s.label)] = on
			continue
		}
		for name := range strings.SplitSeq(value, ",") {
			wanted[strings.ToLower(name)] = true
		}
	}
	var list []ScanStep
	for _, s := range m.stages[:m.own] {
		if s != target && needed[s] && s.fs != nil && wanted[strings.ToLower(s.label)] {
			list = append(list, ScanStep{s.label, s.fs})
		}
	}
	if on, _ := strconv.ParseBool(m.argument(target, "BUILDKIT_SBOM_SCAN_CONTEXT")); !on {
		return list, nil
	}
	step, err := m.graph.add(&Step{Op: Context{}, Name: "[context]"})
	return append(list, ScanStep{"context", step}), err
}

// argument is the value of an ARG that no step sees: the stage's, or else a global one.
func (m *maker) argument(s *stage, name string) string {
	for _, a := range slices.Backward(s.args) {
		if a.Key == name && a.Value != nil {
			return *a.Value
		}
	}
	value, _ := m.globals.Get(name)
	return value
}

// finish makes the target of the stage.
func (m *maker) finish(s *stage) *Target {
	img := s.img.clone()
	for name, value := range m.o.Labels {
		if img.Config.Labels == nil {
			img.Config.Labels = map[string]string{}
		}
		img.Config.Labels[name] = value
	}
	if !m.implicit {
		same := img.Platform.OS == m.platform.OS && img.Platform.Architecture == m.platform.Architecture
		p := m.platform
		if same && p.Variant == "" {
			p.Variant = img.Platform.Variant
		}
		if same && p.OSVersion == "" {
			p.OSVersion = img.Platform.OSVersion
		}
		img.Platform = p
	}
	img.Platform = normal(img.Platform)
	return &Target{Platform: img.Platform, Stage: s.label, Step: s.fs, Image: img, Outline: m.outline(s)}
}

// target finds the stage that is to be built.
func (m *maker) target() (*stage, error) {
	if m.o.Target == "" {
		return m.stages[len(m.stages)-1], nil
	}
	if s, ok := m.byName[strings.ToLower(m.o.Target)]; ok {
		return s, nil
	}
	if n, err := strconv.Atoi(m.o.Target); err == nil && n >= 0 && n < len(m.stages) {
		return m.stages[n], nil
	}
	return nil, dockerfile.Suggest(fmt.Errorf("target stage %q could not be found", m.o.Target), m.o.Target, m.stageNames())
}

func (m *maker) stageNames() []string {
	var names []string
	for _, s := range m.stages {
		if s.label != "" {
			names = append(names, s.label)
		}
	}
	return names
}

// reachable keeps the steps that the targets need, and numbers them from 1.
func reachable(steps []*Step, targets []Target) []*Step {
	needed := map[*Step]bool{}
	var visit func(*Step)
	visit = func(s *Step) {
		if s == nil || needed[s] {
			return
		}
		needed[s] = true
		visit(s.Parent)
		for _, in := range s.Inputs {
			visit(in)
		}
	}
	for _, t := range targets {
		visit(t.Step)
		for _, e := range t.Scan {
			visit(e.Step)
		}
	}
	var kept []*Step
	for _, s := range steps {
		if needed[s] {
			kept = append(kept, s)
			s.ID = len(kept)
		}
	}
	return kept
}
