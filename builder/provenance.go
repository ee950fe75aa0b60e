package builder

import (
	"encoding/base64"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/hodbuild/hod/builder/cache"
	"github.com/hodbuild/hod/builder/plan"
	"github.com/hodbuild/hod/builder/source"
)

const (
	provenanceType = "https://slsa.dev/provenance/v1"
	buildType      = "https://github.com/hodbuild/hod/blob/main/docs/provenance.md"
)

// The words of SLSA's provenance, version 1, of which times and the invocation's ID are left out: they are not what the
// result depends on.
type (
	provenance struct {
		BuildDefinition definition `json:"buildDefinition"`
		RunDetails      details    `json:"runDetails"`
	}
	definition struct {
		BuildType            string     `json:"buildType"`
		ExternalParameters   external   `json:"externalParameters"`
		InternalParameters   internal   `json:"internalParameters"`
		ResolvedDependencies []resource `json:"resolvedDependencies"`
	}
	external struct {
		ConfigSource configSource `json:"configSource"`
		Request      request      `json:"request"`
	}
	configSource struct {
		URI  string `json:"uri,omitempty"`
		Path string `json:"path,omitempty"`
	}
	request struct {
		Frontend string            `json:"frontend"`
		Args     map[string]string `json:"args,omitempty"`
		Secrets  []identity        `json:"secrets,omitempty"`
		SSH      []identity        `json:"ssh,omitempty"`
		Locals   []identity        `json:"locals,omitempty"`
	}
	identity struct {
		ID       string `json:"id,omitempty"`
		Name     string `json:"name,omitempty"`
		Optional bool   `json:"optional,omitempty"`
	}
	internal struct {
		BuilderPlatform string     `json:"builderPlatform"`
		BuildConfig     *stepsList `json:"buildConfig,omitempty"`
		Source          []infoFile `json:"source,omitempty"`
	}
	stepsList struct {
		Steps []stepInfo `json:"steps"`
	}
	stepInfo struct {
		ID     int     `json:"id"`
		Name   string  `json:"name"`
		Op     plan.Op `json:"op"`
		Parent int     `json:"parent,omitempty"`
		Inputs []int   `json:"inputs,omitempty"`
		Layer  string  `json:"layer,omitempty"`
	}
	infoFile struct {
		Filename string `json:"filename"`
		Data     string `json:"data"` // base64
	}
	resource struct {
		URI    string            `json:"uri"`
		Digest map[string]string `json:"digest,omitempty"`
	}
	details struct {
		Builder  builderID `json:"builder"`
		Metadata metadata  `json:"metadata"`
	}
	builderID struct {
		ID string `json:"id"`
	}
	metadata struct {
		Hermetic     bool         `json:"buildkit_hermetic,omitempty"`
		Completeness completeness `json:"buildkit_completeness"`
	}
	completeness struct {
		Request              bool `json:"request"`
		ResolvedDependencies bool `json:"resolvedDependencies"`
	}
)

// provenance says what a target was made of.
func (b *build) provenance(t plan.Target) (statement, error) {
	maxed := b.o.Attest.Provenance == "max"
	steps := stepsOf(t)
	p := provenance{}
	d := &p.BuildDefinition
	d.BuildType = buildType
	d.InternalParameters.BuilderPlatform = plan.FormatPlatform(plan.HostPlatform())
	d.ExternalParameters.ConfigSource = b.configSource()
	d.ExternalParameters.Request = b.request(steps, maxed)
	d.ResolvedDependencies = b.dependencies(steps)
	local := d.ExternalParameters.Request.Locals != nil
	p.RunDetails.Metadata.Completeness.Request = maxed
	p.RunDetails.Metadata.Completeness.ResolvedDependencies = !local && !network(steps)
	p.RunDetails.Metadata.Hermetic = !network(steps)
	if maxed {
		d.InternalParameters.BuildConfig = b.stepsList(steps)
		d.InternalParameters.Source = []infoFile{{path.Base(b.in.recipe.Name), base64.StdEncoding.EncodeToString(b.in.recipe.Text())}}
	}
	raw, err := plainJSON(p)
	if err != nil {
		return statement{}, fmt.Errorf("write provenance: %w", err)
	}
	return statement{"provenance.json", provenanceType, raw}, nil
}

// stepsOf lists what a target depends on, in the order of the plan.
func stepsOf(t plan.Target) []*plan.Step {
	seen := map[*plan.Step]bool{}
	var visit func(*plan.Step)
	visit = func(s *plan.Step) {
		if s == nil || seen[s] {
			return
		}
		seen[s] = true
		visit(s.Parent)
		for _, in := range s.Inputs {
			visit(in)
		}
	}
	visit(t.Step)
	list := make([]*plan.Step, 0, len(seen))
	for s := range seen {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *plan.Step) int { return a.ID - b.ID })
	return list
}

// configSource is where the recipe came from, where that is no folder of this machine.
func (b *build) configSource() configSource {
	c := configSource{Path: path.Base(b.in.recipe.Name)}
	if strings.Contains(b.o.Context, "://") || strings.HasPrefix(b.o.Context, "git@") {
		c.URI = plan.RedactURL(b.o.Context)
	}
	return c
}

// request is what was asked for. The values of arguments are told in max mode only, and never those that look secret.
func (b *build) request(steps []*plan.Step, maxed bool) request {
	r := request{Frontend: "dockerfile.v0"}
	for _, s := range steps {
		switch op := s.Op.(type) {
		case plan.Context:
			if b.in.local || op.Name != "" {
				r.Locals = append(r.Locals, identity{Name: orElse(op.Name, "context")})
			}
		case plan.Run:
			r.mounts(op)
		}
	}
	if !maxed {
		return r
	}
	r.Args = map[string]string{}
	if b.o.Target != "" {
		r.Args["target"] = b.o.Target
	}
	for name, value := range b.o.Args {
		if cache.LooksSecret(name) {
			value = "xxxxx"
		}
		r.Args["build-arg:"+name] = value
	}
	for name, value := range b.o.Labels {
		r.Args["label:"+name] = value
	}
	return r
}

// mounts adds the secrets and agents that a RUN may use.
func (r *request) mounts(op plan.Run) {
	for _, m := range op.Mounts {
		one := identity{ID: m.ID, Optional: !m.Required}
		switch {
		case m.Type == "secret" && !slices.Contains(r.Secrets, one):
			r.Secrets = append(r.Secrets, one)
		case m.Type == "ssh" && !slices.Contains(r.SSH, one):
			r.SSH = append(r.SSH, one)
		}
	}
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// dependencies are the images, files and commits that went in.
func (b *build) dependencies(steps []*plan.Step) []resource {
	list := []resource{}
	for _, s := range steps {
		r := resource{}
		switch op := s.Op.(type) {
		case plan.Base:
			if op.Digest == "" {
				continue
			}
			r.URI = packageURL(op.Name, s.Platform)
			r.Digest = map[string]string{op.Digest.Algorithm().String(): op.Digest.Encoded()}
		case plan.Fetch:
			r.URI = plan.RedactURL(op.URL)
			if op.Checksum != "" {
				r.Digest = map[string]string{op.Checksum.Algorithm().String(): op.Checksum.Encoded()}
			}
		case plan.Git:
			r.URI = plan.RedactURL(op.URL)
			if commit := b.commitOf(s, op); commit != "" {
				r.Digest = map[string]string{"sha1": commit}
			}
		default:
			continue
		}
		list = append(list, r)
	}
	return list
}

// commitOf is the commit of a git step, which is not performed where the recipe names it and a record answers.
func (b *build) commitOf(s *plan.Step, op plan.Git) string {
	if commit := b.commits[s]; commit != "" {
		return commit
	}
	if g, err := source.ParseGit(op.URL); err == nil && g.IsCommit() {
		return g.Ref
	}
	return ""
}

// network says whether a RUN could reach out.
func network(steps []*plan.Step) bool {
	return slices.ContainsFunc(steps, func(s *plan.Step) bool {
		run, ok := s.Op.(plan.Run)
		return ok && run.Network != "none"
	})
}

// masked hides the values of variables that look secret.
func masked(env []string) []string {
	env = slices.Clone(env)
	for i, e := range env {
		if name, _, _ := strings.Cut(e, "="); cache.LooksSecret(name) {
			env[i] = name + "=xxxxx"
		}
	}
	return env
}

// stepsList is the graph, with the layer of each step that is known.
func (b *build) stepsList(steps []*plan.Step) *stepsList {
	list := &stepsList{}
	for _, s := range steps {
		one := stepInfo{ID: s.ID, Name: orElse(s.Text, s.Name), Op: s.Op} // as written: no value of a variable is in it
		if run, ok := s.Op.(plan.Run); ok {
			run.Env = masked(run.Env)
			one.Op = run
		}
		if s.Parent != nil {
			one.Parent = s.Parent.ID
		}
		for _, in := range s.Inputs {
			one.Inputs = append(one.Inputs, in.ID)
		}
		if b.result[s] {
			one.Layer = b.futures[s].st.layer.String()
		}
		list.Steps = append(list.Steps, one)
	}
	return list
}
