package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hodbuild/hod/cmd/conformance/corpus"
)

// opts are the flags of hod build that are an --opt of buildctl: the first %s is the value.
var opts = map[string]string{
	"--build-arg": "build-arg:%s", "--label": "label:%s", "--target": "target=%s", "--platform": "platform=%s",
	"--network": "force-network-mode=%s", "--shm-size": "shm-size=%s", "--ulimit": "ulimit=%s", "--hostname": "hostname=%s",
	"--cgroup-parent": "cgroup-parent=%s", "--no-cache-filter": "no-cache=%s",
}

// same are the flags that buildctl has too.
var same = map[string]bool{"--secret": true, "--ssh": true, "--allow": true}

// buildctlArgs says a case's arguments in buildctl's words.
func buildctlArgs(c *corpus.Case, p corpus.Place) ([]string, error) {
	var out []string
	opt := func(s string) { out = append(out, "--opt", s) }
	recipe, given := "", false
	for i := 0; i < len(c.Args); i++ {
		flag, value, attached := strings.Cut(p.Text(c.Args[i]), "=")
		if !attached && flag != "--no-cache" && flag != "--pull" {
			if i++; i == len(c.Args) {
				return nil, fmt.Errorf("%s has no value", flag)
			}
			value = p.Text(c.Args[i])
		}
		switch form, ok := opts[flag]; {
		case ok && flag == "--build-arg" && !strings.Contains(value, "="):
			if v := lookup(c.Env, value); v != "" {
				opt("build-arg:" + value + "=" + v)
			}
		case ok:
			opt(fmt.Sprintf(form, value))
		case same[flag]:
			out = append(out, flag, value)
		case flag == "-f" || flag == "--file":
			recipe, given = value, true
		case flag == "--no-cache":
			out = append(out, "--no-cache")
		case flag == "--pull":
			opt("image-resolve-mode=pull")
		case flag == "--add-host":
			name, ip, _ := strings.Cut(strings.Replace(value, "=", ":", 1), ":")
			opt("add-hosts=" + name + "=" + ip)
		case flag == "--build-context":
			more, err := namedContext(value, p)
			if err != nil {
				return nil, err
			}
			out = append(out, more...)
		default:
			return nil, fmt.Errorf("buildctl has no %s", flag)
		}
	}
	where, err := contextArgs(c, p, recipe, given)
	return append(out, where...), err
}

func lookup(env []string, name string) string {
	for _, kv := range env {
		if n, v, _ := strings.Cut(kv, "="); n == name {
			return v
		}
	}
	return ""
}

// contextArgs says where the context and the recipe lie.
func contextArgs(c *corpus.Case, p corpus.Place, recipe string, given bool) ([]string, error) {
	context := p.Text(c.Context)
	if context == "-" {
		context = strings.TrimPrefix(c.Stdin, "@")
		if !strings.HasPrefix(c.Stdin, "@") {
			context = "context/" + context
		}
	}
	info, err := os.Stat(filepath.Join(p.Dir, context))
	if err == nil && !info.IsDir() { // an archive: BuildKit fetches it
		context = p.URL + "/" + context
	}
	var out []string
	if strings.Contains(context, "://") {
		out = append(out, "--opt", "context="+context)
		if given {
			out = append(out, "--opt", "filename="+recipe)
		}
		return out, nil
	}
	context = filepath.Join(p.Dir, context)
	folder, name := context, "Dockerfile"
	switch {
	case recipe == "-":
		recipe = "context/" + c.Stdin
		if beside, ok := strings.CutPrefix(c.Stdin, "@"); ok {
			recipe = beside
		}
		fallthrough
	case given:
		folder, name = filepath.Split(filepath.Join(p.Dir, recipe))
	}
	return append(out, "--local", "context="+context, "--local", "dockerfile="+folder, "--opt", "filename="+name), nil
}

// namedContext says a --build-context.
func namedContext(value string, p corpus.Place) ([]string, error) {
	name, where, _ := strings.Cut(value, "=")
	layout, isLayout := strings.CutPrefix(where, "oci-layout://")
	switch {
	case isLayout:
		folder, _, _ := strings.Cut(layout, ":")
		folder = filepath.Join(p.Dir, folder)
		raw, err := os.ReadFile(filepath.Join(folder, "index.json"))
		if err != nil {
			return nil, err
		}
		var index struct{ Manifests []struct{ Digest string } }
		if err := json.Unmarshal(raw, &index); err != nil || len(index.Manifests) == 0 {
			return nil, fmt.Errorf("read layout %s: %v", folder, err)
		}
		id := "layout-" + strings.ReplaceAll(name, ":", "-")
		return []string{"--oci-layout", id + "=" + folder, "--opt", "context:" + name + "=oci-layout://" + id + "@" + index.Manifests[0].Digest}, nil
	case strings.Contains(where, "://"):
		return []string{"--opt", "context:" + value}, nil
	}
	id := "folder-" + strings.ReplaceAll(name, ":", "-")
	return []string{"--local", id + "=" + filepath.Join(p.Dir, where), "--opt", "context:" + name + "=local:" + id}, nil
}
