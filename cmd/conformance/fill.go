package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/hodbuild/hod/cmd/conformance/corpus"
)

// fill writes BuildKit's answer into the sections of a case that hold only a question mark, so that a new case begins
// with what BuildKit means and its author reads it over.
func (d *differential) fill(c *corpus.Case, p corpus.Place, r *corpus.Result) error {
	file := filepath.Join(d.o.repo, "testdata/corpus", path.Dir(c.Name)+".txt")
	d.mu.Lock()
	defer d.mu.Unlock()
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text := "\n" + string(raw)
	start := strings.Index(text, "\n=== "+path.Base(c.Name)+"\n")
	end := len(text)
	if next := strings.Index(text[start+1:], "\n=== "); next >= 0 {
		end = start + 1 + next
	}
	part := text[start:end]
	for name, answer := range d.answers(r) {
		answer = strings.NewReplacer(p.URL+"/http", "{{HTTP}}", p.URL+"/git", "{{GIT}}").Replace(answer)
		part = strings.Replace(part, "-- "+name+" --\n?\n", "-- "+name+" --\n"+answer, 1)
	}
	return os.WriteFile(file, []byte((text[:start] + part + text[end:])[1:]), 0o644)
}

func (d *differential) answers(r *corpus.Result) map[string]string {
	out := map[string]string{"warn": lines(r.Warnings)}
	if r.Failed {
		out["error"] = lastLines(r.Message, 1) + "\n"
		return out
	}
	for _, img := range r.Images {
		suffix := ""
		if len(r.Images) > 1 {
			suffix = " " + img.Platform()
		}
		base := corpus.BaseOf(img, d.seen)
		var tree []string
		for _, e := range img.Tree.Since(base.Tree) {
			tree = append(tree, e.String())
		}
		out["want"+suffix], out["history"+suffix] = lines(tree), lines(img.HistorySince(base))
		out["config"+suffix] = asJSON(img.ConfigSince(base)) + "\n"
	}
	return out
}

func lines(list []string) string {
	text := ""
	for _, l := range list {
		text += fmt.Sprintln(l)
	}
	return text
}
