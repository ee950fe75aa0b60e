package plan

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/hodbuild/hod/builder/dockerfile"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// resolve finds the base images of all stages that the target needs. A base may bring ONBUILD triggers that need more
// stages, so it goes on until nothing new is needed.
func (m *maker) resolve(ctx context.Context, target *stage) (map[*stage]bool, error) {
	for {
		set, more := m.wanted(target), false
		m.ask(ctx, set)
		for i := 0; i < len(m.stages); i++ { // triggers append
			s := m.stages[i]
			if !set[s] {
				continue
			}
			if err := m.resolveStage(ctx, s); err != nil {
				return nil, dockerfile.At(err, s.src.Location)
			}
			grown, err := m.trigger(s)
			if err != nil {
				return nil, dockerfile.At(err, s.src.Location)
			}
			more = more || grown
		}
		if !more {
			return set, m.refuseCycles()
		}
	}
}

// ask resolves the images that stages start from side by side, so that each is known when its turn comes. What was not found
// is said then.
func (m *maker) ask(ctx context.Context, set map[*stage]bool) {
	var images []func()
	for s := range set {
		platform := m.platformOf(s)
		_, replaced := m.contextFor(s.baseName, &platform)
		if s.resolved || s.base != nil || s.context != "" || s.baseName == "scratch" || replaced || !ValidName(s.baseName) || m.o.Resolve == nil {
			continue
		}
		images = append(images, func() { _, _ = m.o.Resolve(ctx, NormalName(s.baseName), platform) })
	}
	if len(images) < 2 {
		return
	}
	var all sync.WaitGroup
	defer all.Wait()
	for _, find := range images {
		all.Go(find)
	}
}

// platformOf is the platform that a stage's base is wanted for.
func (m *maker) platformOf(s *stage) ocispec.Platform {
	if s.platform != nil {
		return *s.platform
	}
	return m.platform
}

// resolveStage finds what a stage starts from, unless that is another stage.
func (m *maker) resolveStage(ctx context.Context, s *stage) error {
	if s.resolved || s.base != nil {
		s.resolved = true
		return nil
	}
	s.resolved = true
	platform := m.platformOf(s)
	if s.context != "" {
		return m.fromContext(ctx, s, s.src.Name, s.context, platform, true)
	}
	if s.baseName == "scratch" {
		s.img, s.platform, s.dispatched = newImage(m.platform), &m.platform, s.foreign
		return nil
	}
	if spec, ok := m.contextFor(s.baseName, &platform); ok {
		return m.fromContext(ctx, s, s.baseName, spec, platform, s.foreign)
	}
	if !ValidName(s.baseName) {
		return fmt.Errorf("failed to parse stage name %q: invalid reference format", s.baseName)
	}
	s.dispatched = s.foreign
	return m.fromImage(ctx, s, NormalName(s.baseName), platform)
}

// fromImage makes the stage start from an image.
func (m *maker) fromImage(ctx context.Context, s *stage, name string, platform ocispec.Platform) error {
	if m.o.Resolve == nil {
		return fmt.Errorf("no source of images for %q", name)
	}
	base, err := m.o.Resolve(ctx, name, platform)
	if err != nil {
		return m.notFound(s, err)
	}
	img, err := imageOf(base.Config)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	s.img = img
	if s.platform == nil && m.implicit && img.Platform.OS != "" && img.Platform.Architecture != "" {
		platform = normal(img.Platform)
	}
	s.platform = &platform
	if len(base.Chain) == 0 {
		return nil
	}
	if got := normal(img.Platform); got.OS != platform.OS || got.Architecture != platform.Architecture {
		m.lint.For(s.src.Comments).BasePlatform(s.baseName, FormatPlatform(platform), FormatPlatform(got), s.src.Location)
	}
	s.fs, err = m.graph.add(&Step{Op: Base{Name: name, Digest: base.Digest, Chain: base.Chain, image: base}, Platform: platform,
		Name: m.stepName(s, "FROM "+name), Stage: s.label, Ranges: s.src.Location})
	return err
}

// notFound says that an image is not found. One word after --from was more likely meant as a stage.
func (m *maker) notFound(s *stage, err error) error {
	if !s.foreign || strings.ContainsAny(s.baseName, "/:@") {
		return dockerfile.Suggest(fmt.Errorf("%s: %w", s.baseName, err), s.baseName, append(m.stageNames(), commonImages...))
	}
	what := dockerfile.Suggest(fmt.Errorf("no stage is called %q", s.baseName), s.baseName, m.stageNames())
	return fmt.Errorf("%w, and as the name of an image: %w", what, err)
}

// commonImages are names that are often meant, as BuildKit knows them.
var commonImages = []string{"alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora", "alpine:latest", "busybox:latest",
	"centos:latest", "debian:latest", "golang:latest", "ubuntu:latest", "fedora:latest"}

// fromContext makes a stage of a named context: an image, or a tree of files. done says that the stage's instructions
// are not performed.
func (m *maker) fromContext(ctx context.Context, s *stage, name, spec string, platform ocispec.Platform, done bool) error {
	s.dispatched = done
	for depth := 0; strings.HasPrefix(spec, "docker-image://"); depth++ {
		image := strings.TrimPrefix(spec, "docker-image://")
		if depth > 10 {
			return fmt.Errorf("named context %q leads to itself", name)
		}
		if image == "scratch" {
			s.img, s.platform = newImage(platform), &platform
			return nil
		}
		if !ValidName(image) {
			return fmt.Errorf("named context %q: %q is not the name of an image", name, image)
		}
		next, ok := m.contextFor(image, &platform)
		if !ok || NormalName(image) == NormalName(name) {
			return m.fromImage(ctx, s, NormalName(image), platform)
		}
		spec = next
	}
	switch scheme, _, _ := strings.Cut(spec, ":"); {
	case strings.HasPrefix(spec, "oci-layout://"):
		return m.fromImage(ctx, s, spec, platform)
	case scheme == "input" || scheme == "target":
		return fmt.Errorf("named context %q: %q means another target of a bake file, which hod does not read", name, spec)
	}
	tree, err := m.graph.add(&Step{Op: Context{Name: name, Spec: spec}, Name: "[context " + name + "]", Ranges: s.src.Location})
	if err != nil {
		return err
	}
	s.img, s.platform = newImage(platform), &platform
	if s.foreign {
		s.fs = tree
		return nil
	}
	s.fs, err = m.graph.add(&Step{Op: Copy{Sources: []Source{{Path: "/", Local: true}}, Dest: "/"}, Inputs: []*Step{tree},
		Platform: platform, Name: m.stepName(s, "FROM "+name), Stage: s.label, Ranges: s.src.Location})
	s.img.note("FROM "+name, s.fs)
	return err
}

// contextFor finds the named context that stands in for a stage or image, for its platform first.
func (m *maker) contextFor(name string, p *ocispec.Platform) (string, bool) {
	if strings.EqualFold(name, "scratch") || strings.EqualFold(name, "context") || len(m.o.Contexts) == 0 {
		return "", false
	}
	if p == nil {
		p = &m.platform
	}
	for _, suffix := range []string{"::" + FormatFull(*p), ""} {
		if spec, ok := m.o.Contexts[name+suffix]; ok {
			return spec, true
		}
		for key, spec := range m.o.Contexts {
			bare, has := strings.CutSuffix(key, suffix)
			if has && (suffix != "" || !strings.Contains(key, "::")) && strings.EqualFold(NormalName(bare), NormalName(name)) {
				return spec, true
			}
		}
	}
	return "", false
}

// trigger puts the ONBUILD instructions of the base in front of the stage's own. It says whether they need stages.
func (m *maker) trigger(s *stage) (bool, error) {
	if s.triggered || s.foreign || s.context != "" {
		return false, nil
	}
	s.triggered = true
	var texts []string
	if s.base != nil {
		for _, c := range s.base.src.Commands {
			if on, ok := c.(*dockerfile.Onbuild); ok {
				texts = append(texts, on.Expression)
			}
		}
	} else if s.img != nil {
		texts, s.img.Config.OnBuild = s.img.Config.OnBuild, nil
	}
	var cmds []command
	grown := false
	for _, text := range texts {
		c, err := dockerfile.Trigger(text, s.src.Location)
		if err != nil {
			return false, err
		}
		if _, nested := c.(*dockerfile.Onbuild); nested {
			return false, errors.New("an ONBUILD trigger may not hold ONBUILD")
		}
		cmd, err := m.command(s, c)
		if err != nil {
			return false, err
		}
		cmd.onBuild = true
		grown = grown || len(cmd.from) > 0
		cmds = append(cmds, cmd)
		switch c.(type) {
		case *dockerfile.Add, *dockerfile.Copy, *dockerfile.Run, *dockerfile.Workdir:
			s.total++
		}
	}
	s.commands = append(cmds, s.commands...)
	return grown, nil
}

// stepName writes [stage 2/5] and what the step is.
func (m *maker) stepName(s *stage, text string) string {
	if s.foreign || s.total == 0 {
		return text
	}
	s.index++
	prefix := ""
	if m.many {
		prefix += FormatPlatform(*s.platform) + " "
	}
	if m.own > 1 {
		prefix += s.label + " "
	}
	return fmt.Sprintf("[%s%d/%d] %s", prefix, s.index, s.total, text)
}
