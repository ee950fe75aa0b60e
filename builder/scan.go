package builder

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hodbuild/hod/builder/ops"
	"github.com/hodbuild/hod/builder/plan"
	"github.com/hodbuild/hod/builder/source"
	"github.com/hodbuild/hod/layers"
)

// The places that BuildKit's protocol of scanners names.
const (
	scanSource = "/run/src/core/sbom"
	scanExtras = "/run/src/extras"
	scanOut    = "/run/out"
	// maxStatement bounds what a scanner may say.
	maxStatement = 256 << 20
)

// scan runs the scanner over a target, and over the stages and the context that the recipe wants to be looked at.
func (b *build) scan(ctx context.Context, t plan.Target) ([]statement, error) {
	image, err := b.o.Images.Resolve(ctx, b.o.Attest.Scanner, plan.HostPlatform(), false)
	if err != nil {
		return nil, err
	}
	if err := b.o.Images.Fetch(ctx, image); err != nil {
		return nil, err
	}
	run, err := b.scanner(ctx, image, t)
	if err != nil {
		return nil, err
	}
	s := &plan.Step{ID: len(b.plan.Steps) + 1, Name: fmt.Sprintf("[%s] generating sbom using %s", t.Stage, b.o.Attest.Scanner)}
	b.tell(Event{Kind: "start", Step: s})
	list, err := b.scanned(ctx, image.Chain, run, s)
	if err != nil {
		b.tell(Event{Kind: "failed", Step: s, Err: err})
		return nil, err
	}
	b.tell(Event{Kind: "done", Step: s})
	return list, nil
}

// scanner is the command with its mounts.
func (b *build) scanner(ctx context.Context, image *BaseImage, t plan.Target) (ops.Run, error) {
	var doc struct {
		Config plan.Config `json:"config"`
	}
	if err := json.Unmarshal(image.Config, &doc); err != nil {
		return ops.Run{}, fmt.Errorf("read config: %w", err)
	}
	c := doc.Config
	run := ops.Run{Args: slices.Concat(c.Entrypoint, c.Cmd), Dir: orElse(c.WorkingDir, "/"), User: c.User, Hostname: "buildkitsandbox",
		Env: append(slices.Clone(c.Env), "BUILDKIT_SCAN_DESTINATION="+scanOut+"/", "BUILDKIT_SCAN_SOURCE="+scanSource)}
	if len(run.Args) == 0 {
		return run, errors.New("the image has no command")
	}
	for name, value := range b.o.Attest.ScannerArgs {
		run.Env = append(run.Env, "BUILDKIT_SCAN_"+name+"="+value)
	}
	add := func(target string, s *plan.Step) error {
		chain, at, err := b.mountChain(ctx, s, "/")
		run.Mounts = append(run.Mounts, ops.Mount{Type: "bind", Target: target, Source: at, Chain: chain, HasChain: true, ReadOnly: true})
		return err
	}
	if err := add(scanSource, t.Step); err != nil {
		return run, err
	}
	for _, e := range t.Scan {
		if err := add(path.Join(scanExtras, "sbom-"+e.Name), e.Step); err != nil {
			return run, err
		}
	}
	if len(t.Scan) > 0 {
		run.Env = append(run.Env, "BUILDKIT_SCAN_SOURCE_EXTRAS="+scanExtras)
	}
	return run, nil
}

// scanned performs the scan and reads what it left.
func (b *build) scanned(ctx context.Context, chain layers.Chain, run ops.Run, s *plan.Step) ([]statement, error) {
	network, err := b.networks.get(ctx, "default")
	if err != nil {
		return nil, err
	}
	l, err := ops.Workdir{Path: scanOut}.Plan(source.NewTree(), b.opsOptions())
	if err != nil {
		return nil, err
	}
	defer l.Close()
	empty, err := b.pack(ctx, l)
	if err != nil {
		return nil, err
	}
	out := &lines{tell: func(text string) { b.tell(Event{Kind: "output", Step: s, Text: text}) }}
	run.Stdout, run.Stderr = out, out
	chain = append(slices.Clone(chain), empty.DiffID)
	info, err := run.Perform(ctx, ops.Tools{Store: b.o.Store, Runner: b.networks.r, Network: network}, chain, b.opsOptions())
	out.flush()
	if err != nil {
		return nil, err
	}
	v, err := b.o.Store.View(ctx, append(chain, info.DiffID))
	if err != nil {
		return nil, err
	}
	return readStatements(ops.FromView(v))
}

// readStatements reads the in-toto statements that a scanner wrote.
func readStatements(files source.Files) ([]statement, error) {
	list, err := files.ReadDir(source.Clean(scanOut))
	if err != nil {
		return nil, err
	}
	var out []statement
	for _, e := range list {
		if e.Type != tar.TypeReg || !strings.HasSuffix(e.Path, ".json") {
			continue
		}
		raw, err := source.ReadFile(files, e.Path, maxStatement)
		if err != nil {
			return nil, err
		}
		var s struct {
			Type          string          `json:"_type"`
			PredicateType string          `json:"predicateType"`
			Predicate     json.RawMessage `json:"predicate"`
		}
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, fmt.Errorf("%s: %w", path.Base(e.Path), err)
		}
		if !strings.HasPrefix(s.Type, "https://in-toto.io/Statement/") || s.PredicateType == "" {
			return nil, fmt.Errorf("%s is no in-toto statement", path.Base(e.Path))
		}
		out = append(out, statement{"sbom" + strings.TrimPrefix(path.Base(e.Path), "sbom"), s.PredicateType, s.Predicate})
	}
	if len(out) == 0 {
		return nil, errors.New("the scanner wrote no statement to " + scanOut)
	}
	return out, nil
}
