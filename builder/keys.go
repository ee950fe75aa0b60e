package builder

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/hodbuild/hod/builder/cache"
	"github.com/hodbuild/hod/builder/dockerfile"
	"github.com/hodbuild/hod/builder/ops"
	"github.com/hodbuild/hod/builder/plan"
	"github.com/hodbuild/hod/builder/source"
	"github.com/hodbuild/hod/layers"
	"github.com/opencontainers/go-digest"
)

// keys is a step's operation and one of its keys, with the inputs that it is made of.
type keys struct {
	op, key digest.Digest
	inputs  []cache.Input
	files   []cache.Input // of the inputs, the files of a copy that reads nothing but what comes from outside
}

// keyed says whether a step has records: the others are cheap, or have to look at the outside each time.
func keyed(s *plan.Step) bool {
	switch s.Op.(type) {
	case plan.Copy, plan.Workdir, plan.Run:
		return true
	}
	return false
}

// apart says whether a step makes its layer without a look at the files below.
func apart(s *plan.Step) bool {
	c, ok := s.Op.(plan.Copy)
	return ok && c.Link && c.Chmod == ""
}

// outside says whether a step reads a tree from outside the build.
func outside(s *plan.Step) bool {
	if s == nil {
		return false
	}
	switch s.Op.(type) {
	case plan.Context, plan.Fetch, plan.Git:
		return true
	}
	return false
}

// pinned says what a step brings from outside where the recipe itself says it, by a file's checksum or a commit's full name: a
// step that copies it is found without a look at it.
func pinned(s *plan.Step) cache.Input {
	switch op := s.Op.(type) {
	case plan.Fetch:
		return cache.Input{Name: plan.RedactURL(op.URL), Digest: op.Checksum}
	case plan.Git:
		g, err := source.ParseGit(op.URL)
		if err != nil || !g.IsCommit() || !strings.HasPrefix(g.Ref, op.Checksum) || !strings.HasPrefix(g.Ref, g.Checksum) {
			break
		}
		raw, err := json.Marshal([]any{g, op.KeepGitDir})
		if err == nil {
			return cache.Input{Name: plan.RedactURL(op.URL), Digest: cache.Operation("commit", string(raw))}
		}
	}
	return cache.Input{}
}

// uncacheable says whether a step depends on what no key speaks of: the times of a local context's files.
func (b *build) uncacheable(s *plan.Step) bool {
	if !b.o.KeepTimes {
		return false
	}
	for _, in := range s.Inputs {
		if outside(in) {
			return true
		}
	}
	return false
}

// operation is the digest of what a step does, without its inputs and its circumstances.
func operation(s *plan.Step) (digest.Digest, error) {
	op := s.Op
	if run, ok := op.(plan.Run); ok {
		run.Env, run.Dir, run.User, run.Network, run.Hostname = nil, "", "", "", ""
		op = run
	}
	raw, err := json.Marshal(op)
	if err != nil {
		return "", fmt.Errorf("describe step: %w", err)
	}
	return cache.Operation(plan.Kind(op), string(raw), plan.FormatPlatform(s.Platform)), nil
}

// circumstances are what else decides about a step's result, each by the name that people know it by.
func (b *build) circumstances(s *plan.Step) []cache.Input {
	list := []cache.Input{cache.Text("SOURCE_DATE_EPOCH", b.created().String())}
	run, ok := s.Op.(plan.Run)
	if !ok {
		return list
	}
	for _, line := range run.Env {
		name, value, _ := strings.Cut(line, "=")
		kind := "ENV "
		if slices.Contains(run.ArgNames, name) {
			kind = "ARG "
		}
		list = append(list, cache.Text(kind+name, value))
	}
	for _, named := range [][2]string{{"WORKDIR", run.Dir}, {"USER", run.User}, {"--network", run.Network}, {"host's name", run.Hostname}} {
		list = append(list, cache.Text(named[0], named[1]))
	}
	return append(list, b.surroundings()...)
}

// surroundings are the flags of the build that can change what a RUN does: none where they are the defaults.
func (b *build) surroundings() []cache.Input {
	var list []cache.Input
	o := b.o.Run
	if b.o.KeepTimes {
		list = append(list, cache.Text("--timestamps", "source"))
	}
	if o.Network != "" && o.Network != "default" {
		list = append(list, cache.Text("the build's --network", o.Network))
	}
	for _, h := range o.ExtraHosts {
		name, address, _ := strings.Cut(h, ":")
		list = append(list, cache.Text("--add-host "+name, address))
	}
	for _, u := range o.Ulimits {
		list = append(list, cache.Text("--ulimit "+u.Name, fmt.Sprintf("%d:%d", u.Soft, u.Hard)))
	}
	if o.ShmSize > 0 {
		list = append(list, cache.Text("--shm-size", fmt.Sprint(o.ShmSize)))
	}
	return list
}

// keys gives a step's fast key, from the fast keys of its inputs and the files that it reads from outside.
func (b *build) keys(ctx context.Context, s *plan.Step) (*keys, error) {
	f := b.futures[s]
	f.keyOnce.Do(func() {
		f.key, f.keyErr = b.fastKeys(ctx, s)
		f.keyErr = dockerfile.At(f.keyErr, s.Ranges)
	})
	return f.key, f.keyErr
}

func (b *build) fastKeys(ctx context.Context, s *plan.Step) (*keys, error) {
	op, err := operation(s)
	if err != nil {
		return nil, err
	}
	k := &keys{op: op, inputs: b.circumstances(s)}
	if err := b.addFast(ctx, k, cache.Below, s.Parent); err != nil {
		return nil, err
	}
	copied, _ := s.Op.(plan.Copy)
	read := copied
	read.Sources = nil
	for i, src := range copied.Sources {
		if src.Input >= 0 && !outside(s.Inputs[src.Input]) {
			if err := b.addFast(ctx, k, fmt.Sprintf("source %d", i), s.Inputs[src.Input]); err != nil {
				return nil, err
			}
			continue
		}
		if src.Input >= 0 {
			if pin := pinned(s.Inputs[src.Input]); pin.Digest != "" {
				k.inputs = append(k.inputs, pin)
				continue
			}
			if _, err := b.need(ctx, s.Inputs[src.Input]); err != nil {
				return nil, err
			}
		}
		read.Sources = append(read.Sources, src)
	}
	before := len(k.inputs)
	if err := b.addFiles(ctx, k, s, read); err != nil {
		return nil, err
	}
	if len(read.Sources) == len(copied.Sources) {
		k.files = k.inputs[before:]
	}
	if err := b.addMounts(ctx, k, s, b.addFastMount); err != nil {
		return nil, err
	}
	k.key = cache.Key(op, k.inputs)
	return k, nil
}

// addMounts adds what the mounts of a RUN show: the files of a tree from outside, and other steps as add knows them.
func (b *build) addMounts(ctx context.Context, k *keys, s *plan.Step, add func(context.Context, *keys, plan.Mount, *plan.Step) error) error {
	run, _ := s.Op.(plan.Run)
	for _, m := range run.Mounts {
		if m.Input < 0 {
			continue
		}
		in := s.Inputs[m.Input]
		if !outside(in) {
			if err := add(ctx, k, m, in); err != nil {
				return err
			}
			continue
		}
		st, err := b.need(ctx, in)
		if err != nil {
			return err
		}
		if err := addShown(ctx, k, m, st.files, st.local); err != nil {
			return err
		}
	}
	return nil
}

// addShown adds the files that a mount shows of a tree.
func addShown(ctx context.Context, k *keys, m plan.Mount, files source.Files, local bool) error {
	c := ops.Copy{Sources: []ops.Source{{Files: files, Path: m.Source, Literal: true, Local: local}}}
	list, err := c.Inputs(ctx)
	if err != nil {
		return fmt.Errorf("mount %q: %w", m.Target, err)
	}
	k.inputs = append(k.inputs, cache.Text("mount "+m.Target, fmt.Sprintf("%d entries", len(list)))) // where this one's end
	for _, in := range list {
		k.inputs = append(k.inputs, cache.Input{Name: in.Name, Digest: in.Digest})
	}
	return nil
}

func (b *build) addFastMount(ctx context.Context, k *keys, m plan.Mount, in *plan.Step) error {
	return b.addFast(ctx, k, "mount "+m.Target, in)
}

// addContentMount adds what a mount shows of another step: what lies in its folder, or where it shows everything, the layers.
func (b *build) addContentMount(ctx context.Context, k *keys, m plan.Mount, in *plan.Step) error {
	if m.Type != "bind" || m.Source == "/" {
		st, err := b.need(ctx, in)
		if err == nil {
			k.inputs = append(k.inputs, cache.Input{Name: "mount " + m.Target, Digest: st.chain.ID()})
		}
		return err
	}
	files, err := b.files(ctx, in)
	if err != nil {
		return err
	}
	return addShown(ctx, k, m, files, false)
}

// ground is what a step is called in the explanation of one that builds on it.
func ground(s *plan.Step) string {
	switch {
	case s == nil:
		return "nothing"
	case !keyed(s):
		return "the image " + s.Op.(plan.Base).Name
	}
	return s.Text
}

// addFast adds the fast key of a step that is built on.
func (b *build) addFast(ctx context.Context, k *keys, name string, s *plan.Step) error {
	switch {
	case s == nil:
		k.inputs = append(k.inputs, cache.Input{Name: name, Digest: layers.Chain{}.ID(), Value: "nothing"})
		return nil
	case !keyed(s): // a base image
		base, ok := s.Op.(plan.Base)
		if !ok {
			return fmt.Errorf("step %s is not built on", plan.Kind(s.Op))
		}
		k.inputs = append(k.inputs, cache.Input{Name: name, Digest: layers.Chain(base.Chain).ID(), Value: base.Name})
		return nil
	}
	in, err := b.keys(ctx, s)
	if err != nil {
		return err
	}
	k.inputs = append(k.inputs, cache.Input{Name: name + " (fast)", Digest: in.key})
	return nil
}

// contentKeys gives the content key of a step whose inputs are there. The files that made the fast key are not read again.
func (b *build) contentKeys(ctx context.Context, s *plan.Step, fast *keys) (*keys, error) {
	k := &keys{op: fast.op, inputs: b.circumstances(s)}
	copied, _ := s.Op.(plan.Copy)
	if !apart(s) {
		below, err := b.need(ctx, s.Parent)
		if err != nil {
			return nil, err
		}
		k.inputs = append(k.inputs, cache.Input{Name: cache.Below, Digest: below.chain.ID(), Value: ground(s.Parent)})
	}
	if k.inputs = append(k.inputs, fast.files...); len(fast.files) == 0 {
		if err := b.addFiles(ctx, k, s, copied); err != nil {
			return nil, err
		}
	}
	if err := b.addMounts(ctx, k, s, b.addContentMount); err != nil {
		return nil, err
	}
	k.key = cache.Key(fast.op, k.inputs)
	return k, nil
}

// addFiles adds the names and contents of all that a copy reads.
func (b *build) addFiles(ctx context.Context, k *keys, s *plan.Step, op plan.Copy) error {
	if len(op.Sources) == 0 {
		return nil
	}
	c, err := b.copyOf(ctx, s, op)
	if err != nil {
		return err
	}
	list, err := c.Inputs(ctx)
	if err != nil {
		return err
	}
	k.inputs = slices.Grow(k.inputs, len(list))
	for _, in := range list {
		k.inputs = append(k.inputs, cache.Input{Name: in.Name, Digest: in.Digest})
	}
	return nil
}

// copyOf makes the operation of a COPY or ADD whose sources are there.
func (b *build) copyOf(ctx context.Context, s *plan.Step, op plan.Copy) (ops.Copy, error) {
	c := ops.Copy{Dest: op.Dest, Chown: op.Chown, Chmod: op.Chmod, Parents: op.Parents, Exclude: op.Exclude, Link: op.Link}
	for _, src := range op.Sources {
		if src.Input < 0 {
			c.Sources = append(c.Sources, inline(src, b.created()))
			continue
		}
		in := s.Inputs[src.Input]
		st, err := b.need(ctx, in)
		if err != nil {
			return c, err
		}
		files, err := b.files(ctx, in)
		if err != nil {
			return c, err
		}
		c.Sources = append(c.Sources, ops.Source{Files: files, Path: src.Path, Literal: !src.Local, Unpack: src.Unpack, Local: st.local})
	}
	return c, nil
}
